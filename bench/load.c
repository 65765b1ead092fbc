/* The load: one thread, epoll, keep-alive connections to 127.0.0.1, bounded in time.
 *
 * Usage: load PORT whole|rate|stream CONNECTIONS SECONDS WARM-UP REQUEST-FILE [RATE] [PID ...]
 *   whole   closed loop of whole answers
 *   rate    open loop of whole answers, RATE a second: latency counts from when a request was due
 *   stream  closed loop of streams; their starts are spread over the warm-up
 * Prints one line of JSON. The CPU of the PIDs is read from /proc at the begin and the end of the measured time.
 */
#define _GNU_SOURCE
#include "common.h"

#define MAX_SAMPLES 4000000

typedef struct {
    uint32_t *value; /* microseconds */
    size_t count;
} samples;

typedef struct {
    int fd, busy, in_body, chunked, status, done, seen_first;
    long left;      /* body bytes, or bytes of the current chunk, that are still to come */
    int chunk_step; /* 0 size line, 1 data, 2 line end behind data, 3 trailer */
    int64_t began, start_at;
    size_t head_length, line_length;
    char head[8192], line[4096];
} conn;

static int port, poller, streaming, measuring;
static char *request;
static size_t request_length;
static samples latency, first_chunk, transit;
static long answers, chunks, bad_status, bad_connection, bad_stream, late;

static void note(samples *s, int64_t ns) {
    if (!measuring || s->count == MAX_SAMPLES) return;
    if (!s->value) s->value = malloc(MAX_SAMPLES * sizeof *s->value);
    s->value[s->count++] = (uint32_t)(ns / 1000);
}

static int ascending(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static unsigned quantile(samples *s, double q) {
    if (!s->count) return 0;
    qsort(s->value, s->count, sizeof *s->value, ascending);
    return s->value[(size_t)(q * (double)(s->count - 1))];
}

/* Nanoseconds of CPU that a process has used: all of its threads. */
static double cpu_of(const char *pid) {
    char path[64], line[1024];
    snprintf(path, sizeof path, "/proc/%s/stat", pid);
    FILE *file = fopen(path, "r");
    if (!file) return 0;
    size_t got = fread(line, 1, sizeof line - 1, file);
    fclose(file);
    line[got] = 0;
    unsigned long user = 0, sys = 0;
    char *behind = strrchr(line, ')');
    if (behind) sscanf(behind + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &sys);
    return (double)(user + sys) / (double)sysconf(_SC_CLK_TCK);
}

static double cpu_of_all(char **pids, int count) {
    double sum = 0;
    for (int i = 0; i < count; i++) sum += cpu_of(pids[i]);
    return sum;
}

static void shut(conn *c) {
    if (c->fd >= 0) close(c->fd);
    c->fd = -1;
    c->busy = 0;
}

static void dial(conn *c) {
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = loopback(port);
    if (connect(c->fd, (void *)&address, sizeof address)) {
        bad_connection++;
        shut(c);
        return;
    }
    no_delay(c->fd);
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &e);
}

static void ask(conn *c, int64_t began) {
    if (c->fd < 0) dial(c);
    if (c->fd < 0) return;
    c->busy = 1;
    c->in_body = c->done = c->seen_first = c->chunk_step = 0;
    c->head_length = c->line_length = 0;
    c->began = began;
    if (send(c->fd, request, request_length, MSG_NOSIGNAL) != (ssize_t)request_length) {
        bad_connection++;
        shut(c);
    }
}

static void finish(conn *c) {
    c->busy = 0;
    if (c->status != 200) bad_status += measuring;
    else if (streaming && !c->done) bad_stream += measuring;
    else answers += measuring;
    note(&latency, now_ns() - c->began);
}

/* One line of an event stream, without its line end. */
static void line(conn *c, const char *text, size_t length) {
    if (length < 6 || memcmp(text, "data: ", 6)) return;
    chunks += measuring;
    if (length == 12 && !memcmp(text, "data: [DONE]", 12)) {
        c->done = 1;
        return;
    }
    const char *stamp = memmem(text, length, "\"content\":\"", 11);
    stamp = stamp ? memchr(stamp, 'T', (size_t)(text + length - stamp)) : NULL;
    if (!stamp || stamp + 1 + STAMP_DIGITS > text + length) return;
    int64_t now = now_ns(), sent = 0;
    for (int i = 1; i <= STAMP_DIGITS; i++) sent = sent * 10 + stamp[i] - '0';
    note(&transit, now - sent);
    if (!c->seen_first) note(&first_chunk, now - c->began);
    c->seen_first = 1;
}

static void body(conn *c, const char *data, size_t length) {
    while (streaming && length) {
        const char *end = memchr(data, '\n', length);
        size_t part = end ? (size_t)(end - data) : length;
        if (c->line_length + part > sizeof c->line) part = sizeof c->line - c->line_length;
        memcpy(c->line + c->line_length, data, part);
        c->line_length += part;
        if (!end) return;
        line(c, c->line, c->line_length);
        c->line_length = 0;
        length -= (size_t)(end - data) + 1;
        data = end + 1;
    }
}

/* Reads the head; returns the bytes used. */
static size_t read_head(conn *c, const char *data, size_t length) {
    size_t room = sizeof c->head - 1 - c->head_length, part = length < room ? length : room;
    memcpy(c->head + c->head_length, data, part);
    size_t before = c->head_length;
    c->head_length += part;
    c->head[c->head_length] = 0;
    char *end = strstr(c->head, "\r\n\r\n");
    if (!end) return part;
    *end = 0;
    c->status = atoi(c->head + 9);
    const char *given = header(c->head, "\r\ncontent-length:");
    c->chunked = header(c->head, "\r\ntransfer-encoding: chunked") != NULL;
    c->left = c->chunked || !given ? 0 : atol(given);
    c->in_body = 1;
    if (!c->chunked && !c->left) finish(c);
    return (size_t)(end + 4 - c->head) - before;
}

/* Reads part of a chunked body; returns the bytes used. */
static size_t read_chunked(conn *c, const char *data, size_t length) {
    if (c->chunk_step == 1) {
        size_t part = (long)length < c->left ? length : (size_t)c->left;
        body(c, data, part);
        c->left -= (long)part;
        if (!c->left) c->chunk_step = 2;
        return part;
    }
    char byte = *data;
    if (c->chunk_step == 0 && byte == '\n') c->chunk_step = c->left ? 1 : 3;
    else if (c->chunk_step == 0 && byte != '\r') c->left = c->left * 16 + (byte <= '9' ? byte - '0' : (byte | 32) - 'a' + 10);
    else if (c->chunk_step == 2 && byte == '\n') c->chunk_step = 0;
    else if (c->chunk_step == 3 && byte == '\n') finish(c);
    return 1;
}

static void feed(conn *c, const char *data, size_t length) {
    while (length && c->busy) {
        size_t used;
        if (!c->in_body) {
            used = read_head(c, data, length);
        } else if (c->chunked) {
            used = read_chunked(c, data, length);
        } else {
            used = (long)length < c->left ? length : (size_t)c->left;
            c->left -= (long)used;
            if (!c->left) finish(c);
        }
        data += used;
        length -= used;
    }
}

static void load_request(const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file) die(path);
    request = malloc(1 << 20);
    request_length = fread(request, 1, 1 << 20, file);
    fclose(file);
}

int main(int argc, char **argv) {
    if (argc < 8) {
        fprintf(stderr, "usage: load PORT whole|rate|stream CONNECTIONS SECONDS WARM-UP REQUEST-FILE RATE [PID ...]\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    prctl(PR_SET_TIMERSLACK, 1000);
    port = atoi(argv[1]);
    streaming = !strcmp(argv[2], "stream");
    int paced = !strcmp(argv[2], "rate"), count = atoi(argv[3]);
    double seconds = atof(argv[4]), warm_up = atof(argv[5]), rate = atof(argv[7]);
    load_request(argv[6]);
    poller = epoll_create1(0);
    conn *all = calloc((size_t)count, sizeof *all);
    int64_t start = now_ns(), measure_at = start + (int64_t)(warm_up * 1e9), end = measure_at + (int64_t)(seconds * 1e9);
    for (int i = 0; i < count; i++) {
        all[i].fd = -1;
        all[i].start_at = start + (streaming ? (int64_t)(warm_up * 1e9 * 0.9 * i / count) : 0);
    }
    int64_t gap = rate > 0 ? (int64_t)(1e9 / rate) : 0, next = start, measured_from = 0;
    double cpu_before = 0;
    int started = 0;
    static char data[1 << 18];
    struct epoll_event events[1024];
    for (int64_t now = start; now < end; now = now_ns()) {
        if (!measuring && now >= measure_at) {
            measuring = 1;
            measured_from = now;
            cpu_before = cpu_of_all(argv + 8, argc - 8);
        }
        if (paced) {
            for (; next <= now; next += gap) {
                int i = 0;
                while (i < count && all[i].busy) i++;
                if (i < count) ask(&all[i], next);
                else late += measuring;
            }
        } else {
            for (; started < count && all[started].start_at <= now; started++) ask(&all[started], now_ns());
        }
        struct timespec nap = {0, paced ? 100000 : 1000000};
        int found = epoll_pwait2(poller, events, 1024, &nap, NULL);
        for (int i = 0; i < found; i++) {
            conn *c = events[i].data.ptr;
            if (c->fd < 0) continue;
            ssize_t got = recv(c->fd, data, sizeof data, 0);
            if (got > 0) {
                feed(c, data, (size_t)got);
            } else if (got == 0 || errno != EAGAIN) {
                bad_connection += c->busy && measuring;
                shut(c);
            }
            if (!c->busy && !paced) ask(c, now_ns());
        }
    }
    double elapsed = (double)(now_ns() - measured_from) / 1e9, cpu = cpu_of_all(argv + 8, argc - 8) - cpu_before;
    double units = streaming ? (double)chunks : (double)answers;
    printf("{\"seconds\":%.3f,\"answers\":%ld,\"answers_per_second\":%.1f,\"chunks_per_second\":%.1f,\"cpu_us\":%.2f,"
           "\"latency_p50_us\":%u,\"latency_p99_us\":%u,\"first_p50_us\":%u,\"first_p99_us\":%u,\"transit_p50_us\":%u,"
           "\"transit_p99_us\":%u,\"bad_status\":%ld,\"bad_connection\":%ld,\"bad_stream\":%ld,\"late\":%ld}\n",
           elapsed, answers, (double)answers / elapsed, (double)chunks / elapsed, units ? cpu / units * 1e6 : 0,
           quantile(&latency, 0.5), quantile(&latency, 0.99), quantile(&first_chunk, 0.5), quantile(&first_chunk, 0.99),
           quantile(&transit, 0.5), quantile(&transit, 0.99), bad_status, bad_connection, bad_stream, late);
    return 0;
}
