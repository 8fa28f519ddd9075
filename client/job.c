#include "client/job.h"

#include <stdlib.h>
#include <string.h>

#include "client/dirjob.h"
#include "client/report.h"

#define SHOWN_MAX 400u

bool job_init(struct belay_job *job, const struct job_kind *kind,
              struct belay_engine *engine, const char *url, const char *name)
{
    char shown[SHOWN_MAX];

    job->kind = kind;
    job->engine = engine;
    job->url = strdup(url);
    (void)belay_text_escape(shown, sizeof shown, url);
    job->shown_url = strdup(shown);
    (void)belay_text_escape(shown, sizeof shown, name);
    job->shown = strdup(shown);
    return job->url != NULL && job->shown != NULL && job->shown_url != NULL;
}

void job_clear(struct belay_job *job)
{
    free(job->url);
    free(job->shown);
    free(job->shown_url);
}

/* ---- asking. */

bool belay_job_is_directory(const struct belay_job *job)
{
    return dirjob_is(job);
}

const char *belay_job_name(const struct belay_job *job)
{
    return job->shown;
}

const char *belay_job_url(const struct belay_job *job)
{
    return job->shown_url;
}

void belay_job_stats(const struct belay_job *job,
                     struct belay_job_stats *stats)
{
    struct belay_job_stats all = {0};

    if (job->working) {
        job->kind->stats(job, &all);
    }
    report_give(stats, &all, sizeof all);
}
