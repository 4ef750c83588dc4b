import { connect, createServer } from 'node:net';
import { writeSync } from 'node:fs';

/**
 * One end of a measurement, started inside a namespace. `serve PORT`: echoes small messages, swallows a stream that begins with "S".
 * `ping HOST PORT N`: half round trips, µs, as JSON {p50}. `stream HOST PORT MS`: Gbit/s as JSON {gbps}.
 */
const [, , mode = '', ...args] = process.argv;

if (mode === 'serve') {
  createServer((socket) => {
    socket.setNoDelay(true);
    socket.on('error', () => socket.destroy());
    socket.once('data', (first: Buffer) => {
      if (first[0] !== 83) {
        socket.write(first);
        socket.pipe(socket);
        return;
      }
      let bytes = first.length;
      socket.on('data', (d: Buffer) => (bytes += d.length));
      socket.on('end', () => socket.end(String(bytes)));
    });
  }).listen(Number(args[0]), '::', () => writeSync(1, 'ready\n'));
} else if (mode === 'ping') {
  const [host = '', port = '', count = ''] = args;
  const socket = connect(Number(port), host);
  socket.setNoDelay(true);
  const message = Buffer.alloc(64, 1);
  const times: number[] = [];
  let sent = 0n;
  const send = (): void => {
    sent = process.hrtime.bigint();
    socket.write(message);
  };
  let got = 0;
  socket.on('connect', send);
  socket.on('data', (d: Buffer) => {
    got += d.length;
    if (got < 64) return;
    got = 0;
    times.push(Number(process.hrtime.bigint() - sent) / 2000);
    if (times.length < Number(count)) send();
    else {
      times.sort((a, b) => a - b);
      writeSync(1, JSON.stringify({ p50: times[times.length >> 1] }));
      process.exit(0);
    }
  });
} else {
  const [host = '', port = '', ms = ''] = args;
  const socket = connect(Number(port), host);
  const chunk = Buffer.alloc(256 * 1024, 83);
  const began = process.hrtime.bigint();
  let total = '';
  const pump = (): void => {
    while (Number(process.hrtime.bigint() - began) / 1e6 < Number(ms)) if (!socket.write(chunk)) return;
    socket.end();
  };
  socket.on('connect', pump);
  socket.on('drain', pump);
  socket.on('data', (d: Buffer) => (total += d.toString()));
  socket.on('close', () => {
    const seconds = Number(process.hrtime.bigint() - began) / 1e9;
    writeSync(1, JSON.stringify({ gbps: (Number(total) * 8) / seconds / 1e9 }));
    process.exit(0);
  });
}
