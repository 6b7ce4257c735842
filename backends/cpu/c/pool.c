/* Threads that share the tasks of a kernel with whoever calls the model.
 *
 * A pool serves one call at a time; who finds it taken works alone. All pools of a process count in
 * `busy` the processors that they use, and ask for no more helpers than are left: sessions that run
 * at the same time do not fight for processors. Helpers are not pinned. Tasks are claimed one by
 * one, so that a helper which the system keeps from running holds up only the task it has begun.
 * Between kernels helpers spin for a moment, then sleep.
 */
#include "model.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

/* Steps of waiting, of 10 to 60 ns: a helper's for the next kernel, about as long as it takes to be
 * woken where other processes run; the caller's for the tasks that helpers have begun. */
#define HELPER_SPINS 16384
#define CALLER_SPINS 2048
#define TASKS_PER_THREAD 4
#define MOST_TASKS 0xffff
#define STACK_BYTES (1 << 20)

typedef void (*body_t)(void *frame, int32_t task, int32_t tasks);

struct helper {
    struct mcc_pool *pool;
    int32_t seat;
    pthread_t thread;
};

struct mcc_pool {
    struct model_team team;
    int32_t helpers;           /* at most */
    int32_t started;           /* threads there are */
    int32_t processors;        /* that the process may use */
    _Atomic int32_t *busy;     /* those in use, by all pools */
    atomic_flag taken;
    /* The job: its number, its tasks, and the next to be claimed, in 32, 16 and 16 bits. Who claims
       a task by exchanging the word knows that `body` and `frame` belong to it. */
    _Alignas(64) _Atomic uint64_t ticket;
    body_t body;
    void *frame;
    _Atomic int32_t seats;     /* helpers that may take part */
    _Alignas(64) _Atomic int32_t left; /* tasks that are not done */
    _Alignas(64) _Atomic int32_t sleepers;
    _Atomic bool stop;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    struct helper *seat;
};

static void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__) || defined(__arm__)
    __asm__ volatile("yield");
#endif
}

static uint32_t job_of(uint64_t ticket) { return (uint32_t)(ticket >> 32); }

/* Claim and do tasks of a job until none is left. */
static void work_on(struct mcc_pool *pool, uint32_t job)
{
    for (;;) {
        uint64_t ticket = atomic_load(&pool->ticket);
        int32_t tasks = (int32_t)(ticket >> 16 & MOST_TASKS);
        int32_t task = (int32_t)(ticket & MOST_TASKS);
        if (job_of(ticket) != job || task >= tasks)
            return;
        if (!atomic_compare_exchange_weak(&pool->ticket, &ticket, ticket + 1))
            continue;
        pool->body(pool->frame, task, tasks);
        atomic_fetch_sub(&pool->left, 1);
    }
}

static void *help(void *argument)
{
    struct helper *self = argument;
    struct mcc_pool *pool = self->pool;
    uint32_t done = 0;
    bool invited = true;
    while (!atomic_load(&pool->stop)) {
        uint32_t job = job_of(atomic_load(&pool->ticket));
        for (int spin = 0; invited && job == done && spin < HELPER_SPINS; spin++) {
            relax();
            job = job_of(atomic_load(&pool->ticket));
        }
        if (job == done) {
            pthread_mutex_lock(&pool->mutex);
            atomic_fetch_add(&pool->sleepers, 1);
            while (job_of(atomic_load(&pool->ticket)) == done && !atomic_load(&pool->stop))
                pthread_cond_wait(&pool->wake, &pool->mutex);
            atomic_fetch_sub(&pool->sleepers, 1);
            pthread_mutex_unlock(&pool->mutex);
            continue;
        }
        invited = self->seat < atomic_load(&pool->seats);
        if (invited)
            work_on(pool, job);
        done = job;
    }
    return NULL;
}

static void start(struct mcc_pool *pool)
{
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    for (; pool->started < pool->helpers; pool->started++) {
        struct helper *helper = &pool->seat[pool->started];
        *helper = (struct helper){.pool = pool, .seat = pool->started};
        if (pthread_create(&helper->thread, &attributes, help, helper)) {
            pool->helpers = pool->started; /* the system has no more to give */
            break;
        }
    }
    pthread_attr_destroy(&attributes);
}

static void launch(void *context, body_t body, void *frame, int32_t tasks)
{
    struct mcc_pool *pool = context;
    if (pool->started < pool->helpers)
        start(pool);
    uint32_t job = job_of(atomic_load(&pool->ticket)) + 1;
    pool->body = body;
    pool->frame = frame;
    atomic_store(&pool->left, tasks);
    atomic_store(&pool->ticket, (uint64_t)job << 32 | (uint64_t)tasks << 16);
    if (atomic_load(&pool->sleepers)) {
        pthread_mutex_lock(&pool->mutex);
        pthread_cond_broadcast(&pool->wake);
        pthread_mutex_unlock(&pool->mutex);
    }
    work_on(pool, job);
    for (int spin = 0; atomic_load(&pool->left); spin++) {
        if (spin < CALLER_SPINS)
            relax();
        else
            sched_yield();
    }
}

/* A pool of up to `helpers` threads beside the caller's; NULL where memory is short. */
struct mcc_pool *mcc_pool_new(int32_t helpers, int32_t processors, int32_t *busy)
{
    struct mcc_pool *pool = aligned_alloc(64, (sizeof *pool + 63) / 64 * 64);
    struct helper *seat = calloc(helpers > 0 ? (size_t)helpers : 1, sizeof *seat);
    if (!pool || !seat) {
        free(pool);
        free(seat);
        return NULL;
    }
    *pool = (struct mcc_pool){
        .helpers = helpers,
        .processors = processors,
        .busy = (_Atomic int32_t *)busy,
        .taken = ATOMIC_FLAG_INIT,
        .seat = seat,
    };
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->wake, NULL);
    return pool;
}

void mcc_pool_free(struct mcc_pool *pool)
{
    pthread_mutex_lock(&pool->mutex);
    atomic_store(&pool->stop, true);
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->mutex);
    for (int32_t i = 0; i < pool->started; i++)
        pthread_join(pool->seat[i].thread, NULL);
    pthread_mutex_destroy(&pool->mutex);
    pthread_cond_destroy(&pool->wake);
    free(pool->seat);
    free(pool);
}

/* `model_call` with as many of the pool's helpers as there are processors to spare. */
int mcc_pool_call(struct mcc_pool *pool, const void *const inputs[], void *const outputs[],
                  void *workspace)
{
    int32_t spare = pool->processors - atomic_fetch_add(pool->busy, 1) - 1;
    int32_t helpers = spare < pool->helpers ? spare : pool->helpers;
    bool alone = helpers <= 0 || atomic_flag_test_and_set(&pool->taken);
    int status;
    if (alone) {
        status = model_call(inputs, outputs, workspace, NULL);
    } else {
        struct model_team team = {TASKS_PER_THREAD * (helpers + 1), launch, pool};
        atomic_fetch_add(pool->busy, helpers);
        atomic_store(&pool->seats, helpers);
        status = model_call(inputs, outputs, workspace, &team);
        atomic_fetch_sub(pool->busy, helpers);
        atomic_flag_clear(&pool->taken);
    }
    atomic_fetch_sub(pool->busy, 1);
    return status;
}
