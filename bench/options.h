/* The command line of the load client. */
#ifndef BENCH_OPTIONS_H
#define BENCH_OPTIONS_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#define MAX_CONNECTIONS 8192
#define MAX_PIDS 64

enum mode { WHOLE, RATE, STREAM };

struct options {
    enum mode mode;
    int port, connections, chunks, pid_count;
    double warm, seconds, drain, rate, stagger;
    const char *bodies;
    char headers[4096];
    pid_t pids[MAX_PIDS], engine;
};

static struct options options = {.connections = 32, .chunks = 64, .warm = 0.5, .seconds = 2, .drain = 2, .rate = 200};

static void fail(const char *what) {
    fprintf(stderr, "load: %s\n", what);
    exit(2);
}

static void read_pids(char *list) {
    for (char *pid = strtok(list, ","); pid && options.pid_count < MAX_PIDS; pid = strtok(NULL, ","))
        options.pids[options.pid_count++] = atoi(pid);
}

static void add_header(const char *header) {
    size_t used = strlen(options.headers);
    if (used + strlen(header) + 3 > sizeof options.headers) fail("-H: too long");
    sprintf(options.headers + used, "%s\r\n", header);
}

static enum mode mode_of(const char *name) {
    if (!strcmp(name, "whole")) return WHOLE;
    if (!strcmp(name, "rate")) return RATE;
    if (strcmp(name, "stream")) fail("-m: whole, rate or stream");
    return STREAM;
}

static void read_options(int argc, char **argv) {
    for (int o; (o = getopt(argc, argv, "p:m:b:c:w:s:d:r:n:t:H:k:e:")) != -1;) {
        switch (o) {
        case 'p': options.port = atoi(optarg); break;
        case 'm': options.mode = mode_of(optarg); break;
        case 'b': options.bodies = optarg; break;
        case 'c': options.connections = atoi(optarg); break;
        case 'w': options.warm = atof(optarg); break;
        case 's': options.seconds = atof(optarg); break;
        case 'd': options.drain = atof(optarg); break;
        case 'r': options.rate = atof(optarg); break;
        case 'n': options.chunks = atoi(optarg); break;
        case 't': options.stagger = atof(optarg); break;
        case 'H': add_header(optarg); break;
        case 'k': read_pids(optarg); break;
        case 'e': options.engine = atoi(optarg); break;
        default: fail("see the head of load.c");
        }
    }
    if (options.port < 1 || options.port > 65535) fail("-p: 1 to 65535");
    if (options.connections < 1 || options.connections > MAX_CONNECTIONS) fail("-c: 1 to 8192");
    if (!(options.seconds > 0 && options.seconds <= 600)) fail("-s: above 0, at most 600");
    if (!(options.warm >= 0 && options.warm <= 60)) fail("-w: 0 to 60");
    if (!(options.drain >= 0 && options.drain <= 60)) fail("-d: 0 to 60");
    if (!(options.rate > 0 && options.rate <= 1e6)) fail("-r: above 0, at most 1000000");
}

#endif
