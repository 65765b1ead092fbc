/* Counts of durations, and their quantiles. */
#ifndef BENCH_HISTOGRAM_H
#define BENCH_HISTOGRAM_H

#include <stdint.h>

/* Counts by value: exact below 128 ns, within 0.8 % above. */
struct histogram {
    int64_t count;
    int64_t buckets[64 * 128];
};

static void record(struct histogram *h, int64_t value) {
    uint64_t v = value > 0 ? (uint64_t)value : 0;
    int shift = v < 128 ? 0 : 56 - __builtin_clzll(v);
    h->buckets[(uint64_t)shift * 128 + (v >> shift)]++;
    h->count++;
}

/* The value in µs below which *share* of the counts lie. */
static double quantile(const struct histogram *h, double share) {
    int64_t seen = 0, wanted = (int64_t)(share * (double)h->count);
    for (int i = 0; i < 64 * 128; i++) {
        seen += h->buckets[i];
        if (seen <= wanted) continue;
        int shift = i < 128 ? 0 : i / 128 - 1;
        return (double)((int64_t)(i - shift * 128) << shift) / 1000.0;
    }
    return 0;
}

#endif
