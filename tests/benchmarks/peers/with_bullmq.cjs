// BullMQ: jobs are removed when they have succeeded.
const { Queue, Worker } = require("bullmq");
const { url, moments, begin, fired } = require("./measuring.cjs");

async function main() {
  const connection = { url, maxRetriesPerRequest: null };
  const queue = new Queue("bench", { connection });
  const due = moments();
  for (let i = 0; i < due.length; i += 1000) {
    await queue.addBulk(
      due.slice(i, i + 1000).map((at) => ({
        name: "fire",
        data: { due: at },
        opts: { delay: Math.max(0, at - Date.now()), removeOnComplete: true },
      })),
    );
  }
  await begin();
  new Worker("bench", async (job) => fired(job.data.due), { connection, concurrency: 100 });
}

main();
