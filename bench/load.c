/* The load client. One thread, epoll, 127.0.0.1 only; bounded in time and in connections. Prints one line of JSON.

     load -p PORT -m whole|rate|stream -b BODIES [-c connections] [-w warm-up s] [-s seconds] [-d drain s]
          [-r requests/s] [-n chunks] [-t stagger s] [-H header]... [-k pid,pid,...] [-e engine pid]

   whole   each connection sends its next request when the answer to the last is complete
   rate    requests leave at a fixed rate whatever the answers do; latency counts from the time a request was due
   stream  like whole, with streams of -n chunks; the first ones start spread over -t seconds

   BODIES holds a request body on each line; they are sent in turn. After warm-up and measurement nothing new is sent,
   and what is under way may end within the drain time. */
#define _GNU_SOURCE
#include "common.h"
#include "histogram.h"
#include "options.h"
#include "requests.h"
#include "response.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define TEXT_BYTES 8192
#define EVENTS 256
#define RETRY_NS (50 * 1000000LL) /* after a connection that was not to be had */

struct connection {
    int fd; /* -1: not open */
    bool busy;
    bool done; /* [DONE] has come */
    bool usage; /* the answer reported its usage */
    int chunks;
    int64_t began; /* when the request was sent, or at a fixed rate: when it was due */
    int64_t first; /* nothing is sent before */
    size_t text_size;
    struct response response;
    char text[TEXT_BYTES]; /* a whole answer, or the line of a stream that is not complete yet */
};

static struct connection *connections;
static struct histogram latency, first_chunk, transit;
static int next_request, busy_count, poller;
static int64_t window_from, window_to;
static struct { int64_t ok, status, connect, closed, malformed, incomplete, late, skipped, reopened, chunks; } counts;

/* CPU seconds that a process and all its threads have used, those that are gone included. */
static double cpu_of(pid_t pid) {
    clockid_t clock;
    struct timespec t;
    if (pid <= 0 || clock_getcpuclockid(pid, &clock) || clock_gettime(clock, &t)) return 0;
    return (double)t.tv_sec + (double)t.tv_nsec / SECOND;
}

static double cpu_of_target(void) {
    double sum = 0;
    for (int i = 0; i < options.pid_count; i++) sum += cpu_of(options.pids[i]);
    return sum;
}

static bool in_window(int64_t time) { return time >= window_from && time < window_to; }

static void hang_up(struct connection *c) {
    if (c->busy) busy_count--;
    c->busy = false;
    if (c->fd >= 0) close(c->fd);
    c->fd = -1;
}

static bool open_connection(struct connection *c) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    struct timeval limit = {.tv_sec = 2};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)options.port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit); /* bounds connect() */
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    if (connect(fd, (struct sockaddr *)&address, sizeof address) || fcntl(fd, F_SETFL, O_NONBLOCK) ||
        epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event)) {
        close(fd);
        counts.connect++;
        c->first = now_ns() + RETRY_NS;
        return false;
    }
    c->fd = fd;
    return true;
}

/* Send the next request on *c*, which is idle. */
static void begin(struct connection *c, int64_t due) {
    struct request *request = &requests[next_request++ % request_count];
    if (c->fd < 0 && !open_connection(c)) return;
    response_reset(&c->response);
    c->text_size = 0;
    c->chunks = 0;
    c->done = c->usage = false;
    c->began = due;
    c->busy = true;
    busy_count++;
    if (send(c->fd, request->bytes, request->size, MSG_NOSIGNAL) == (ssize_t)request->size) return;
    counts.closed++;
    hang_up(c);
}

/* Read one line of a stream. Stamps are counted, not events: a relay may put two chunks into one event. */
static void read_line(struct connection *c, const char *line, size_t size) {
    const char *end = line + size;
    if (size < 6 || memcmp(line, "data: ", 6)) return;
    int chunks_before = c->chunks;
    for (const char *at = line; (at = memchr(at, STAMP_MARK, (size_t)(end - at))) && end - at > STAMP_LETTERS; at++) {
        int64_t sent = stamp_read(at + 1), now = now_ns();
        if (sent < 0) continue;
        if (!c->chunks++ && c->began >= window_from) record(&first_chunk, now - c->began);
        if (!in_window(now)) continue;
        counts.chunks++;
        record(&transit, now - sent);
    }
    if (c->chunks > chunks_before) return;
    c->done = c->done || !memcmp(line + 6, "[DONE]", smaller(6, size - 6));
    c->usage = c->usage || memmem(line, size, "\"completion_tokens\":", 20);
}

static void keep_text(struct connection *c, const char *bytes, size_t size) {
    size_t taken = smaller(size, TEXT_BYTES - c->text_size);
    memcpy(c->text + c->text_size, bytes, taken);
    c->text_size += taken;
}

/* The sink of a body: lines of a stream are read at once, a whole answer when it is complete. */
static void take_body(void *context, const char *bytes, size_t size) {
    struct connection *c = context;
    const char *end;
    while (options.mode == STREAM && size && (end = memchr(bytes, '\n', size))) {
        size_t length = (size_t)(end - bytes);
        if (c->text_size) {
            keep_text(c, bytes, length);
            read_line(c, c->text, c->text_size);
            c->text_size = 0;
        } else {
            read_line(c, bytes, length);
        }
        bytes += length + 1;
        size -= length + 1;
    }
    keep_text(c, bytes, size);
}

static bool is_whole(const struct connection *c) {
    if (options.mode == STREAM) return c->done && c->usage && c->chunks == options.chunks;
    return memmem(c->text, c->text_size, "\"content\":", 10) &&
           memmem(c->text, c->text_size, "\"completion_tokens\":", 20);
}

static void complete(struct connection *c) {
    int64_t now = now_ns();
    c->busy = false;
    busy_count--;
    if (c->response.status != 200) counts.status++;
    else if (!is_whole(c)) counts.incomplete++;
    else {
        counts.ok += in_window(now);
        if (c->began >= window_from) record(&latency, now - c->began);
    }
    if (!c->response.closes) return;
    hang_up(c);
    counts.reopened++;
}

/* The server has closed: the end of an answer, an error in the middle of one, or nothing much while idle. */
static void closed_by_server(struct connection *c) {
    if (!c->busy) {
        counts.reopened++;
    } else if (c->response.phase == UNTIL_CLOSE) {
        complete(c);
    } else {
        counts.closed++;
    }
    hang_up(c);
}

static void receive(struct connection *c) {
    static char buffer[1 << 17];
    ssize_t got = recv(c->fd, buffer, sizeof buffer, 0);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) {
        closed_by_server(c);
        return;
    }
    size_t taken = c->busy ? response_feed(&c->response, buffer, (size_t)got, take_body, c) : 0;
    if (taken < (size_t)got || c->response.phase == BROKEN) {
        counts.malformed++; /* more than was asked for, or no HTTP */
        hang_up(c);
    } else if (c->response.phase == COMPLETE) {
        complete(c);
    }
}

/* Send what is due at a fixed rate; return when the next one is. */
static int64_t send_at_rate(int64_t now) {
    static int64_t due;
    static int at;
    int64_t interval = (int64_t)(SECOND / options.rate);
    for (due = due ? due : now; due <= now; due += interval) {
        int tried = 0;
        while (tried < options.connections && connections[at].busy) at = (at + 1) % options.connections, tried++;
        if (tried == options.connections) counts.skipped++;
        else begin(&connections[at], due);
    }
    return due;
}

/* Send on each connection that is free; return when the next stream is to begin. */
static int64_t send_on_free(int64_t now) {
    int64_t next = window_to;
    for (int i = 0; busy_count < options.connections && i < options.connections; i++) {
        struct connection *c = &connections[i];
        if (c->busy) continue;
        if (c->first <= now) begin(c, now_ns());
        if (!c->busy && c->first < next) next = c->first;
    }
    return next;
}

/* Wait for events until *until* at the latest, and handle them. */
static void handle_events(int64_t until) {
    struct epoll_event events[EVENTS];
    struct timespec limit = as_timespec(until - now_ns());
    int count = epoll_pwait2(poller, events, EVENTS, &limit, NULL);
    for (int i = 0; i < count; i++) {
        struct connection *c = events[i].data.ptr;
        receive(c);
        if (options.mode != RATE && !c->busy && c->first <= now_ns() && now_ns() < window_to) begin(c, now_ns());
    }
}

static void run_until(int64_t end) {
    for (int64_t now; (now = now_ns()) < end;) {
        int64_t next = options.mode == RATE ? send_at_rate(now) : send_on_free(now);
        handle_events(next < end ? next : end);
    }
}

static void drain(void) {
    int64_t end = now_ns() + (int64_t)(options.drain * SECOND);
    while (busy_count && now_ns() < end) handle_events(end);
    counts.late = busy_count;
}

static double own_cpu(void) { return cpu_of(getpid()); }

static void print_result(double elapsed, double target, double engine, double client) {
    int64_t units = options.mode == STREAM ? counts.chunks : counts.ok;
    printf("{\"seconds\":%.4f,\"ok\":%ld,\"rps\":%.1f,\"p50_us\":%.1f,\"p99_us\":%.1f,", elapsed, (long)counts.ok,
           (double)counts.ok / elapsed, quantile(&latency, 0.5), quantile(&latency, 0.99));
    printf("\"chunks\":%ld,\"chunks_per_s\":%.0f,\"first_p50_us\":%.1f,\"first_p99_us\":%.1f,", (long)counts.chunks,
           (double)counts.chunks / elapsed, quantile(&first_chunk, 0.5), quantile(&first_chunk, 0.99));
    printf("\"transit_p50_us\":%.1f,\"transit_p99_us\":%.1f,", quantile(&transit, 0.5), quantile(&transit, 0.99));
    printf("\"cpu_s\":%.6f,\"cpu_us_per_unit\":%.3f,\"engine_cpu\":%.4f,\"client_cpu\":%.4f,", target,
           units ? target / (double)units * 1e6 : 0.0, engine / elapsed, client / elapsed);
    printf("\"reopened\":%ld,\"errors\":{\"status\":%ld,\"connect\":%ld,\"closed\":%ld,\"malformed\":%ld,",
           (long)counts.reopened, (long)counts.status, (long)counts.connect, (long)counts.closed,
           (long)counts.malformed);
    printf("\"incomplete\":%ld,\"late\":%ld,\"skipped\":%ld}}\n", (long)counts.incomplete, (long)counts.late,
           (long)counts.skipped);
}

int main(int argc, char **argv) {
    read_options(argc, argv);
    read_bodies();
    prctl(PR_SET_TIMERSLACK, 1000UL); /* ns */
    poller = epoll_create1(EPOLL_CLOEXEC);
    connections = calloc((size_t)options.connections, sizeof *connections);
    if (!connections) fail("out of memory");
    int64_t start = now_ns();
    window_from = start + (int64_t)(options.warm * SECOND);
    window_to = window_from + (int64_t)(options.seconds * SECOND);
    for (int i = 0; i < options.connections; i++) {
        connections[i].fd = -1;
        connections[i].first = start + (int64_t)(options.stagger * SECOND * i / options.connections);
    }
    run_until(window_from);
    double target = cpu_of_target(), engine = cpu_of(options.engine), client = own_cpu();
    int64_t measured_from = now_ns();
    run_until(window_to);
    target = cpu_of_target() - target;
    engine = cpu_of(options.engine) - engine;
    client = own_cpu() - client;
    double elapsed = (double)(now_ns() - measured_from) / SECOND;
    drain();
    print_result(elapsed, target, engine, client);
    return 0;
}
