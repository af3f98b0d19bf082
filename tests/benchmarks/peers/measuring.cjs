// What the programs of peers on Node share; see measuring.py. Moments are milliseconds since 1970.
const readline = require("node:readline");

const [url, count, mode] = process.argv.slice(2);
const lags = [];
let began;
let cpu;

exports.url = url;

exports.moments = () => {
  const number = Number(count);
  const first = Date.now() + 3000 + number * 2;
  return Array.from({ length: number }, (_, i) => (mode === "spread" ? first + (i * 10000) / number : Date.now() - 1000));
};

exports.begin = async () => {
  console.log("ready");
  await new Promise((resolve) => readline.createInterface({ input: process.stdin }).once("line", resolve));
  began = Date.now();
  cpu = process.cpuUsage();
};

exports.fired = (due) => {
  if (lags.push(Date.now() - due) < Number(count)) return;
  const used = process.cpuUsage(cpu);
  lags.sort((a, b) => a - b);
  const figures = {
    seconds: (Date.now() - began) / 1000,
    cpu: (used.user + used.system) / 1e6,
    lag: lags[lags.length >> 1] / 1000,
    count: lags.length,
  };
  process.stdout.write(`${JSON.stringify(figures)}\n`, () => process.exit(0));
};
