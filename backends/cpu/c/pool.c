/* Threads that share the tasks of a kernel with whoever calls the model.
 *
 * A pool serves one call at a time; who finds it taken works alone. All pools of a process count in
 * `busy` the processors that they use, and ask for no more helpers than are left: sessions that run
 * at the same time do not fight for processors. Helpers are not pinned. Each thread has a run of
 * neighbouring tasks, the same from kernel to kernel: its cache holds what it has just written, and
 * the weights that a task fetches ahead are for its next one. Tasks are claimed one by one, and who
 * has done its own takes the last of another's, so that a helper which the system keeps from running
 * holds up only the task it has begun.
 * Between kernels helpers spin for a moment, then sleep. A child of fork has none, and the lock and
 * the condition as one of them may have left them: there a pool works alone and touches neither.
 */
#include "model.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

/* Steps of waiting, of 10 to 60 ns: a helper's for the next kernel, about as long as it takes to be
 * woken where other processes run; the caller's for the tasks that helpers have begun. */
#define HELPER_SPINS 16384
#define CALLER_SPINS 2048
#define TASKS_PER_THREAD 2
#define MOST_TASKS 0xffff
#define STACK_BYTES (1 << 20)

typedef void (*body_t)(void *frame, int32_t task, int32_t tasks);

struct helper {
    struct mcc_pool *pool;
    int32_t seat;
    pthread_t thread;
};

/* What is left of a thread's tasks: the number of the job, the end and the first, in 32, 16 and 16
   bits. Who claims one by exchanging the word knows that `body` and `frame` belong to the job. */
struct share {
    _Alignas(64) _Atomic uint64_t tasks;
};

struct mcc_pool {
    struct model_team team;
    int32_t helpers;           /* at most */
    int32_t started;           /* threads there are */
    int32_t processors;        /* that the process may use */
    pid_t process;             /* whose threads they are */
    _Atomic int32_t *busy;     /* those in use, by all pools */
    atomic_flag taken;
    _Alignas(64) _Atomic uint32_t job; /* its number */
    int32_t tasks;
    body_t body;
    void *frame;
    _Atomic int32_t seats;     /* helpers that may take part */
    _Alignas(64) _Atomic int32_t left; /* tasks that are not done */
    _Alignas(64) _Atomic int32_t sleepers;
    _Atomic bool stop;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    struct helper *seat;
    struct share *share;       /* of the caller, then of each helper, if there are as many */
    int32_t shares;
};

static void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__) || defined(__arm__)
    __asm__ volatile("yield");
#endif
}

/* Claim the first or the last task of a share, if it is of the job; -1 where none is left. */
static int32_t claim(struct share *share, uint32_t job, bool last)
{
    uint64_t word = atomic_load(&share->tasks);
    for (;;) {
        uint32_t end = word >> 16 & MOST_TASKS, first = word & MOST_TASKS;
        if (word >> 32 != job || first >= end)
            return -1;
        uint64_t rest = last ? word - (1 << 16) : word + 1;
        if (atomic_compare_exchange_weak(&share->tasks, &word, rest))
            return (int32_t)(last ? end - 1 : first);
    }
}

/* Do tasks of a job until none is left: those of one's own seat, then the others'. */
static void work_on(struct mcc_pool *pool, uint32_t job, int32_t seat)
{
    for (int32_t i = 0; i < pool->shares; i++) {
        struct share *share = &pool->share[(seat + i) % pool->shares];
        for (int32_t task; (task = claim(share, job, i > 0)) >= 0;) {
            pool->body(pool->frame, task, pool->tasks);
            atomic_fetch_sub(&pool->left, 1);
        }
    }
}

static void *help(void *argument)
{
    struct helper *self = argument;
    struct mcc_pool *pool = self->pool;
    uint32_t done = 0;
    bool invited = true;
    while (!atomic_load(&pool->stop)) {
        uint32_t job = atomic_load(&pool->job);
        for (int spin = 0; invited && job == done && spin < HELPER_SPINS; spin++) {
            relax();
            job = atomic_load(&pool->job);
        }
        if (job == done) {
            pthread_mutex_lock(&pool->mutex);
            atomic_fetch_add(&pool->sleepers, 1);
            while (atomic_load(&pool->job) == done && !atomic_load(&pool->stop))
                pthread_cond_wait(&pool->wake, &pool->mutex);
            atomic_fetch_sub(&pool->sleepers, 1);
            pthread_mutex_unlock(&pool->mutex);
            continue;
        }
        invited = self->seat < atomic_load(&pool->seats);
        if (invited)
            work_on(pool, job, self->seat + 1);
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
    uint32_t job = atomic_load(&pool->job) + 1;
    pool->body = body;
    pool->frame = frame;
    atomic_store(&pool->left, tasks);
    pool->tasks = tasks;
    int32_t threads = atomic_load(&pool->seats) + 1;
    for (int32_t i = 0; i < threads; i++) {
        uint64_t first = (uint64_t)i * tasks / threads, end = (uint64_t)(i + 1) * tasks / threads;
        atomic_store(&pool->share[i].tasks, (uint64_t)job << 32 | end << 16 | first);
    }
    atomic_store(&pool->job, job);
    if (atomic_load(&pool->sleepers)) {
        pthread_mutex_lock(&pool->mutex);
        pthread_cond_broadcast(&pool->wake);
        pthread_mutex_unlock(&pool->mutex);
    }
    work_on(pool, job, 0);
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
    int32_t shares = helpers > 0 ? helpers + 1 : 1;
    struct share *share = aligned_alloc(64, sizeof *share * (size_t)shares);
    if (!pool || !seat || !share) {
        free(pool);
        free(seat);
        free(share);
        return NULL;
    }
    *pool = (struct mcc_pool){
        .helpers = helpers,
        .processors = processors,
        .process = getpid(),
        .busy = (_Atomic int32_t *)busy,
        .taken = ATOMIC_FLAG_INIT,
        .seat = seat,
        .share = share,
        .shares = shares,
    };
    for (int32_t i = 0; i < shares; i++)
        atomic_init(&share[i].tasks, 0);
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->wake, NULL);
    return pool;
}

void mcc_pool_free(struct mcc_pool *pool)
{
    if (pool->process == getpid()) {
        pthread_mutex_lock(&pool->mutex);
        atomic_store(&pool->stop, true);
        pthread_cond_broadcast(&pool->wake);
        pthread_mutex_unlock(&pool->mutex);
        for (int32_t i = 0; i < pool->started; i++)
            pthread_join(pool->seat[i].thread, NULL);
        pthread_mutex_destroy(&pool->mutex);
        pthread_cond_destroy(&pool->wake);
    }
    free(pool->seat);
    free(pool->share);
    free(pool);
}

/* What a call reads and writes, as `model_call` takes it. */
struct mcc_call {
    struct mcc_pool *pool;
    const void *const *inputs;
    void *const *outputs;
    void *workspace;
};

/* `model_call` with as many of the pool's helpers as there are processors to spare. */
int mcc_pool_run(const struct mcc_call *call)
{
    struct mcc_pool *pool = call->pool;
    int32_t spare = pool->processors - atomic_fetch_add(pool->busy, 1) - 1;
    int32_t helpers = spare < pool->helpers ? spare : pool->helpers;
    bool alone = helpers <= 0 || pool->process != getpid() || atomic_flag_test_and_set(&pool->taken);
    int status;
    if (alone) {
        status = model_call(call->inputs, call->outputs, call->workspace, NULL);
    } else {
        struct model_team team = {TASKS_PER_THREAD * (helpers + 1), launch, pool};
        atomic_fetch_add(pool->busy, helpers);
        atomic_store(&pool->seats, helpers);
        status = model_call(call->inputs, call->outputs, call->workspace, &team);
        atomic_fetch_sub(pool->busy, helpers);
        atomic_flag_clear(&pool->taken);
    }
    atomic_fetch_sub(pool->busy, 1);
    return status;
}
