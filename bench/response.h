/* Reads one HTTP/1.1 response from pieces of any size: status, framing, body. Knows no socket. */
#ifndef BENCH_RESPONSE_H
#define BENCH_RESPONSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define HEAD_BYTES 4096

enum phase { HEAD, SIZED, UNTIL_CLOSE, CHUNK_SIZE, CHUNK_DATA, CHUNK_END, TRAILER, COMPLETE, BROKEN };

struct response {
    enum phase phase;
    int status;
    bool closes;      /* the server will close the connection behind it */
    size_t left;      /* bytes of the body, or of the chunk, that are still to come */
    size_t line_size; /* of the trailer line that is being read */
    size_t head_size;
    char head[HEAD_BYTES + 1];
};

/* What takes the pieces of a body, in order. */
typedef void body_sink(void *context, const char *bytes, size_t size);

static inline size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

static inline void response_reset(struct response *r) { memset(r, 0, offsetof(struct response, head)); }

static void response_read_fields(struct response *r) {
    const char *length = strcasestr(r->head, "\r\ncontent-length:");
    r->status = r->head_size > 12 ? atoi(r->head + 9) : 0;
    r->closes = strcasestr(r->head, "\r\nconnection: close");
    r->left = length ? strtoul(length + 17, NULL, 10) : 0;
    if (strcasestr(r->head, "\r\ntransfer-encoding: chunked")) {
        r->phase = CHUNK_SIZE;
        r->left = 0;
    } else if (length) {
        r->phase = r->left ? SIZED : COMPLETE;
    } else {
        r->phase = UNTIL_CLOSE;
        r->closes = true;
    }
}

/* Take in what belongs to the head; return how much that was. */
static size_t response_feed_head(struct response *r, const char *bytes, size_t size) {
    size_t before = r->head_size, taken = smaller(size, HEAD_BYTES - before);
    memcpy(r->head + before, bytes, taken);
    r->head_size += taken;
    char *end = memmem(r->head, r->head_size, "\r\n\r\n", 4);
    if (!end) {
        if (r->head_size == HEAD_BYTES) r->phase = BROKEN;
        return taken;
    }
    r->head_size = (size_t)(end - r->head) + 4;
    *end = '\0';
    response_read_fields(r);
    return r->head_size - before;
}

static void response_feed_chunk_size(struct response *r, char byte) {
    if (byte == '\n') r->phase = r->left ? CHUNK_DATA : TRAILER;
    else if (byte >= '0' && byte <= '9') r->left = r->left * 16 + (size_t)(byte - '0');
    else if ((byte | 32) >= 'a' && (byte | 32) <= 'f') r->left = r->left * 16 + (size_t)((byte | 32) - 'a' + 10);
    else if (byte != '\r') r->phase = BROKEN;
}

static void response_feed_trailer(struct response *r, char byte) {
    if (byte == '\n' && !r->line_size) r->phase = COMPLETE;
    else if (byte == '\n') r->line_size = 0;
    else if (byte != '\r') r->line_size++;
}

static size_t response_feed_body(struct response *r, const char *bytes, size_t size, body_sink *sink, void *context) {
    size_t taken = r->phase == UNTIL_CLOSE ? size : smaller(size, r->left);
    sink(context, bytes, taken);
    if (r->phase == UNTIL_CLOSE) return taken;
    r->left -= taken;
    if (!r->left) r->phase = r->phase == SIZED ? COMPLETE : CHUNK_END;
    return taken;
}

/* Take in bytes until the response is COMPLETE or BROKEN; return how many were taken. */
static size_t response_feed(struct response *r, const char *bytes, size_t size, body_sink *sink, void *context) {
    size_t at = 0;
    while (at < size && r->phase < COMPLETE) {
        switch (r->phase) {
        case HEAD: at += response_feed_head(r, bytes + at, size - at); break;
        case CHUNK_SIZE: response_feed_chunk_size(r, bytes[at++]); break;
        case CHUNK_END: if (bytes[at++] == '\n') r->phase = CHUNK_SIZE; break;
        case TRAILER: response_feed_trailer(r, bytes[at++]); break;
        default: at += response_feed_body(r, bytes + at, size - at, sink, context);
        }
    }
    return at;
}

#endif
