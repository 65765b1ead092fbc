/* The requests of the load client, ready to be sent: the head that Dify's client writes, and bodies out of a file. */
#ifndef BENCH_REQUESTS_H
#define BENCH_REQUESTS_H

#include "options.h"

#define MAX_BODIES 1024
#define REQUEST_BYTES 32768
#define REQUEST_HEAD                                                                      \
    "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n"                       \
    "User-Agent: python-requests/2.32.5\r\nAccept-Encoding: gzip, deflate\r\nAccept: */*\r\n" \
    "Connection: keep-alive\r\n%sContent-Type: application/json\r\nContent-Length: %zd\r\n\r\n"

struct request {
    char *bytes;
    size_t size;
};

static struct request requests[MAX_BODIES];
static int request_count;

/* Read the file with a body on each line. */
static void read_bodies(void) {
    FILE *file = options.bodies ? fopen(options.bodies, "r") : NULL;
    char *line = NULL;
    size_t room = 0;
    if (!file) fail("-b: cannot read the bodies");
    for (ssize_t size; request_count < MAX_BODIES && (size = getline(&line, &room, file)) > 0;) {
        if (line[size - 1] == '\n') line[--size] = '\0';
        if (!size || size > REQUEST_BYTES) fail("-b: an empty or too long line");
        struct request *request = &requests[request_count++];
        int total = asprintf(&request->bytes, REQUEST_HEAD "%s", options.port, options.headers, size, line);
        if (total < 0) fail("out of memory");
        request->size = (size_t)total;
    }
    free(line);
    fclose(file);
    if (!request_count) fail("-b: no bodies");
}

#endif
