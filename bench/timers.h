/* When each paced stream is due: a binary heap. The timer of a stream that is gone stays until it is due. */
#ifndef BENCH_TIMERS_H
#define BENCH_TIMERS_H

#include <stdbool.h>
#include <stdint.h>

#define MAX_TIMERS 65536

struct timer {
    int64_t due;
    int fd;
    uint32_t life;
};

static struct timer timers[MAX_TIMERS]; /* timers[0] is due first */
static int timer_count;

/* Put a timer into the heap; false where there is no room. */
static bool timer_add(struct timer timer) {
    if (timer_count == MAX_TIMERS) return false;
    int at = timer_count++;
    for (int parent; at > 0 && timers[parent = (at - 1) / 2].due > timer.due; at = parent) timers[at] = timers[parent];
    timers[at] = timer;
    return true;
}

/* Take out the timer that is due first. */
static struct timer timer_take(void) {
    struct timer first = timers[0], last = timers[--timer_count];
    int at = 0;
    for (int child; (child = 2 * at + 1) < timer_count; at = child) {
        if (child + 1 < timer_count && timers[child + 1].due < timers[child].due) child++;
        if (timers[child].due >= last.due) break;
        timers[at] = timers[child];
    }
    timers[at] = last;
    return first;
}

#endif
