// graphile-worker, tuned as its documentation says: a local queue, and completions in batches.
const { run, makeWorkerUtils } = require("graphile-worker");
const { url, moments, begin, fired } = require("./measuring.cjs");

async function main() {
  const utils = await makeWorkerUtils({ connectionString: url });
  await utils.migrate();
  const due = moments();
  for (let i = 0; i < due.length; i += 1000) {
    await utils.addJobs(due.slice(i, i + 1000).map((at) => ({ identifier: "fire", payload: { due: at }, runAt: new Date(at) })));
  }
  await utils.release();
  await begin();
  await run({
    preset: {
      worker: {
        connectionString: url,
        maxPoolSize: 10,
        concurrentJobs: 100,
        localQueue: { size: 500 },
        completeJobBatchDelay: 0,
        failJobBatchDelay: 0,
        pollInterval: 1000,
      },
    },
    logger: new (require("graphile-worker").Logger)(() => () => {}),
    taskList: { fire: async (payload) => fired(payload.due) },
  });
}

main();
