// pg-boss: four workers that fetch 500 jobs each and complete them at once, polling as often as it permits.
const { url, moments, begin, fired } = require("./measuring.cjs");

async function main() {
  const module = await import(require.resolve("pg-boss"));
  const PgBoss = module.PgBoss ?? module.default;
  const boss = new PgBoss({ connectionString: url, max: 10 });
  boss.on("error", console.error);
  await boss.start();
  await boss.createQueue("bench");
  const due = moments();
  for (let i = 0; i < due.length; i += 1000) {
    const jobs = due.slice(i, i + 1000).map((at) => ({ name: "bench", data: { due: at }, startAfter: new Date(at) }));
    await (boss.insert.length > 1 ? boss.insert("bench", jobs) : boss.insert(jobs));
  }
  await begin();
  for (let i = 0; i < 4; i += 1) {
    await boss.work("bench", { batchSize: 500, pollingIntervalSeconds: 0.5 }, async (jobs) => {
      for (const job of jobs) fired(job.data.due);
    });
  }
}

main();
