/* What the engine stand-in and the load client agree on: the clock, and the time stamp inside a chunk. */
#ifndef BENCH_COMMON_H
#define BENCH_COMMON_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#define SECOND 1000000000LL

/* A stamp is '@' and sixteen letters a..p, four bits each. Letters, because a guard may well take sixteen digits for a
   card number; '@' occurs nowhere else in a chunk. */
#define STAMP_MARK '@'
#define STAMP_LETTERS 16

/* Nanoseconds of CLOCK_MONOTONIC, which all processes of a machine share. */
static inline int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * SECOND + t.tv_nsec;
}

static inline struct timespec as_timespec(int64_t ns) {
    if (ns < 0) ns = 0;
    return (struct timespec){.tv_sec = ns / SECOND, .tv_nsec = ns % SECOND};
}

/* Write the letters of *time* (without the mark) to *to*. */
static inline void stamp_write(char *to, int64_t time) {
    for (int i = STAMP_LETTERS - 1; i >= 0; i--, time >>= 4) to[i] = (char)('a' + (time & 15));
}

/* Read the letters at *from*; -1 where they are none. */
static inline int64_t stamp_read(const char *from) {
    uint64_t time = 0;
    for (int i = 0; i < STAMP_LETTERS; i++) {
        if (from[i] < 'a' || from[i] > 'p') return -1;
        time = time << 4 | (uint64_t)(from[i] - 'a');
    }
    return (int64_t)time;
}

#endif
