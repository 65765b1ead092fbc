/* A stand-in for an engine: answers like vLLM, computes nothing. One thread, epoll, 127.0.0.1 only.

     engine PORT

   GET  /health, /v1/models
   POST /v1/chat/completions    whole, or as a stream: role, content chunks, finish, usage, [DONE]

   Two fields of a request are its knobs: "max_tokens" is the number of content chunks and "seed" the microseconds
   between two of them (0: as fast as the socket takes them). "max_completion_tokens", its newer name, which some relays
   write in its place, counts where "max_tokens" is absent. Each chunk is an HTTP chunk and a write of its own, as
   vLLM under uvicorn does it, and carries the time at which it was sent. */
#define _GNU_SOURCE
#include "answers.h"
#include "common.h"
#include "timers.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_CONNECTIONS 16384
#define REQUEST_BYTES 65536
#define EVENTS 256
#define DEFAULT_CHUNKS 64
#define MAX_LATE_NS (50 * 1000000LL) /* a stream that fell further behind starts its rhythm anew */

struct connection {
    int fd;
    uint32_t life; /* of its newest stream; tells that stream's timer from those of streams that are gone */
    long chunks_left;
    long chunks_sent;
    bool streaming;
    bool flooding;
    bool wants_write;
    int64_t delay_ns;
    char *unsent;
    size_t unsent_size;
    size_t filled;
    char request[REQUEST_BYTES + 1];
};

static struct connection *connections[MAX_CONNECTIONS];
static int flood_count, poller;
static uint32_t lives;

static void watch(struct connection *c, bool write) {
    if (c->wants_write == write) return;
    c->wants_write = write;
    struct epoll_event event = {.events = EPOLLIN | (write ? EPOLLOUT : 0u), .data.fd = c->fd};
    epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &event);
}

static void drop(struct connection *c) {
    flood_count -= c->flooding;
    connections[c->fd] = NULL;
    close(c->fd);
    free(c->unsent);
    free(c);
}

/* Send, and keep what the socket does not take; false where the connection is lost. */
static bool deliver(struct connection *c, const char *bytes, size_t size) {
    ssize_t sent = 0;
    if (!c->unsent_size) {
        sent = send(c->fd, bytes, size, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN) return false;
        if (sent < 0) sent = 0;
    }
    size_t rest = size - (size_t)sent;
    if (!rest) return true;
    char *grown = realloc(c->unsent, c->unsent_size + rest);
    if (!grown) return false;
    memcpy(grown + c->unsent_size, bytes + sent, rest);
    c->unsent = grown;
    c->unsent_size += rest;
    watch(c, true);
    return true;
}

static bool deliver_unsent(struct connection *c) {
    ssize_t sent = send(c->fd, c->unsent, c->unsent_size, MSG_NOSIGNAL);
    if (sent < 0) return errno == EAGAIN;
    c->unsent_size -= (size_t)sent;
    memmove(c->unsent, c->unsent + sent, c->unsent_size);
    if (!c->unsent_size) watch(c, false);
    return true;
}

static bool deliver_frame(struct connection *c, const struct frame *frame) {
    return deliver(c, frame->bytes, frame->size);
}

static bool deliver_content(struct connection *c) {
    struct frame *frame = &content_frames[(size_t)c->chunks_sent++ % PIECE_COUNT];
    c->chunks_left--;
    stamp_write(frame->bytes + frame->stamp_at, now_ns());
    return deliver_frame(c, frame);
}

static bool read_requests(struct connection *c);

static bool finish_stream(struct connection *c) {
    char event[FRAME_BYTES / 2];
    struct frame usage;
    snprintf(event, sizeof event, CHUNK_HEAD "]," USAGE "}}\n\n", 412 + c->chunks_sent, c->chunks_sent);
    frame_event(&usage, event);
    c->streaming = false;
    flood_count -= c->flooding;
    c->flooding = false;
    return deliver_frame(c, &finish_frame) && deliver_frame(c, &usage) && deliver_frame(c, &done_frame) &&
           deliver_frame(c, &end_frame) && read_requests(c);
}

static bool step_stream(struct connection *c) {
    return c->chunks_left > 0 ? deliver_content(c) : finish_stream(c);
}

/* The number behind "name": in a JSON text, blanks or none around the colon. */
static long knob(const char *json, const char *name, long otherwise) {
    const char *at = strstr(json, name);
    if (!at) return otherwise;
    at += strlen(name);
    at += strspn(at, " \t\r\n:");
    return strncmp(at, "true", 4) ? strtol(at, NULL, 10) : 1;
}

static bool start_stream(struct connection *c, const char *json) {
    c->chunks_left = knob(json, "\"max_tokens\"", knob(json, "\"max_completion_tokens\"", DEFAULT_CHUNKS));
    c->delay_ns = knob(json, "\"seed\"", 0) * 1000;
    c->chunks_sent = 0;
    c->streaming = true;
    c->life = ++lives;
    if (!deliver(c, STREAM_HEAD, sizeof STREAM_HEAD - 1) || !deliver_frame(c, &role_frame)) return false;
    if (c->delay_ns > 0) return timer_add((struct timer){now_ns() + c->delay_ns, c->fd, c->life});
    c->flooding = true;
    flood_count++;
    return true;
}

static bool answer(struct connection *c, const char *json) {
    if (strncmp(c->request, "POST", 4)) return deliver(c, models_answer, strlen(models_answer));
    if (knob(json, "\"stream\"", 0)) return start_stream(c, json);
    return deliver(c, whole_answer, strlen(whole_answer));
}

/* The size of the request in the buffer with its body; 0 where it is not complete, -1 where it is too large. */
static ssize_t request_size(struct connection *c, size_t *body_at) {
    char *end = memmem(c->request, c->filled, "\r\n\r\n", 4);
    if (!end) return c->filled == REQUEST_BYTES ? -1 : 0;
    *body_at = (size_t)(end - c->request) + 4;
    *end = '\0';
    const char *length = strcasestr(c->request, "\r\ncontent-length:");
    bool chunked = strcasestr(c->request, "\r\ntransfer-encoding: chunked");
    size_t size = *body_at + (length ? strtoul(length + 17, NULL, 10) : 0);
    *end = '\r';
    if (chunked) {
        char *last = memmem(end, c->filled - (size_t)(end - c->request), "\r\n0\r\n\r\n", 7);
        size = last ? (size_t)(last - c->request) + 7 : c->filled + 1;
    }
    if (size > REQUEST_BYTES) return -1;
    return size <= c->filled ? (ssize_t)size : 0;
}

/* Answer what has arrived completely; a pipelined request waits for the stream before it. */
static bool read_requests(struct connection *c) {
    while (c->filled && !c->streaming) {
        size_t body_at = 0;
        ssize_t size = request_size(c, &body_at);
        if (size <= 0) return size == 0;
        char kept = c->request[size];
        c->request[size] = '\0';
        bool alive = answer(c, c->request + body_at);
        c->request[size] = kept;
        if (!alive) return false;
        c->filled -= (size_t)size;
        memmove(c->request, c->request + size, c->filled);
    }
    return true;
}

static bool receive(struct connection *c) {
    if (c->filled == REQUEST_BYTES) return false;
    ssize_t got = recv(c->fd, c->request + c->filled, REQUEST_BYTES - c->filled, 0);
    if (got < 0) return errno == EAGAIN;
    if (got == 0) return false;
    c->filled += (size_t)got;
    return read_requests(c);
}

static void accept_all(int listener) {
    for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
        struct connection *c = fd < MAX_CONNECTIONS ? calloc(1, sizeof *c) : NULL;
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
        if (!c || epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event)) {
            free(c);
            close(fd);
            continue;
        }
        c->fd = fd;
        connections[fd] = c;
    }
}

static void serve(const struct epoll_event *event) {
    struct connection *c = connections[event->data.fd];
    bool alive = true;
    if (event->events & EPOLLOUT) alive = deliver_unsent(c);
    if (alive && event->events & (EPOLLIN | EPOLLHUP | EPOLLERR)) alive = receive(c);
    if (!alive) drop(c);
}

/* One chunk to each flooding stream whose client keeps up. */
static void flood(void) {
    for (int fd = 0, left = flood_count; fd < MAX_CONNECTIONS && left > 0; fd++) {
        struct connection *c = connections[fd];
        if (!c || !c->flooding) continue;
        left--;
        if (!c->unsent_size && !step_stream(c)) drop(c);
    }
}

/* One chunk to each stream that is due; the rhythm is kept, so that streams do not gather in convoys. */
static void fire_timers(void) {
    int64_t now = now_ns();
    while (timer_count && timers[0].due <= now) {
        struct timer timer = timer_take();
        struct connection *c = connections[timer.fd];
        if (!c || c->life != timer.life || !c->streaming) continue;
        timer.due = now - timer.due > MAX_LATE_NS ? now + c->delay_ns : timer.due + c->delay_ns;
        bool alive = c->unsent_size || step_stream(c);
        if (alive && c->streaming && c->life == timer.life) alive = timer_add(timer);
        if (!alive) drop(c);
    }
}

/* How long may be waited for events; -1 for as long as it takes. */
static int64_t patience(void) {
    for (int fd = 0, left = flood_count; fd < MAX_CONNECTIONS && left > 0; fd++) {
        if (!connections[fd] || !connections[fd]->flooding) continue;
        if (!connections[fd]->unsent_size) return 0;
        left--;
    }
    if (!timer_count) return -1;
    int64_t wait = timers[0].due - now_ns();
    return wait > 0 ? wait : 0;
}

static int listen_on(uint16_t port) {
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* inherited by what is accepted */
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 4096)) {
        perror("engine: cannot listen");
        exit(1);
    }
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener};
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event);
    return listener;
}

int main(int argc, char **argv) {
    long port = argc == 2 ? strtol(argv[1], NULL, 10) : 0;
    if (port < 1 || port > 65535) {
        fprintf(stderr, "usage: engine PORT\n");
        return 2;
    }
    prctl(PR_SET_TIMERSLACK, 1000UL); /* ns; the default of 50 µs would show in paced streams */
    prepare_answers();
    poller = epoll_create1(EPOLL_CLOEXEC);
    int listener = listen_on((uint16_t)port);
    struct epoll_event events[EVENTS];
    for (;;) {
        int64_t wait = patience();
        struct timespec limit = as_timespec(wait);
        int count = epoll_pwait2(poller, events, EVENTS, wait < 0 ? NULL : &limit, NULL);
        for (int i = 0; i < count; i++) {
            if (events[i].data.fd == listener) accept_all(listener);
            else serve(&events[i]);
        }
        flood();
        fire_timers();
    }
}
