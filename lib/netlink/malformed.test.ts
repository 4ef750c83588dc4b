import fc from 'fast-check';
import { expect, test } from 'vitest';
import { packetHead } from '../ip/packet.ts';
import { readFlow } from './conntrack.ts';
import { MessageWriter, readAttributes, readMessages } from './message.ts';

// A packet in a log message is what a pod has sent; the rest comes from the kernel.

test('any bytes are messages, attributes, a flow and a packet, or none', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      const data = Buffer.from(bytes);
      for (const m of readMessages(data)) readAttributes(m.payload);
      readAttributes(data);
      readFlow(data);
      packetHead(data);
    }),
    { numRuns: 5_000 },
  );
});

test('a flow whose attributes are cut anywhere is a flow or none', () => {
  const tuple = (w: MessageWriter, type: number): MessageWriter =>
    w.nest(type, (t) => {
      t.nest(1, (a) => a.bytes(1, Uint8Array.of(10, 0, 0, 1)).bytes(2, Uint8Array.of(10, 0, 0, 2)));
      t.nest(2, (p) => p.u8(1, 6).u16be(2, 80).u16be(3, 8080));
    });
  const writer = tuple(tuple(new MessageWriter(0, 0).fixed(Buffer.from([2, 0, 0, 0])), 1), 2).bytes(
    8,
    Uint8Array.of(0, 0, 0, 7),
  );
  const whole = writer.finish(1).subarray(16);
  expect(readFlow(whole)).toMatchObject({ mark: 7, orig: { src: '10.0.0.1', sport: 80, dport: 8080 } });
  fc.assert(
    fc.property(fc.nat(whole.length), fc.nat(whole.length - 1), fc.nat(255), (end, at, byte) => {
      const data = Buffer.from(whole.subarray(0, end));
      if (at < data.length) data[at] = byte;
      readFlow(data);
    }),
    { numRuns: 5_000 },
  );
});

test('IPv6 extension headers without end', () => {
  const packet = Buffer.alloc(1_500);
  packet[0] = 0x60;
  expect(packetHead(packet)).toMatchObject({ family: 6 });
  packet.fill(0, 40);
  expect(packetHead(packet)?.port).toBe(0);
});
