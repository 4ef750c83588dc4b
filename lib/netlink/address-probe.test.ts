import { expect, test } from 'vitest';
import { question, readAdvert, readArp } from './address-probe.ts';
import { announcement } from './announce.ts';

const MINE = '02:00:00:00:00:01';
const THEIRS = '02:00:00:00:00:02';

test('an ARP probe names no sender, and asks for the address', () => {
  const frame = question(MINE, '192.0.2.200');
  expect(frame.toString('hex')).toBe(
    [
      'ffffffffffff',
      '020000000001',
      '0806',
      '0001080006040001',
      '020000000001',
      '00000000',
      '000000000000',
      'c00002c8',
    ].join(''),
  );
  // Another one that asks in the same way is about to take it.
  expect(readArp(question(THEIRS, '192.0.2.200'))).toEqual([{ ip: '192.0.2.200', mac: THEIRS }]);
  expect(readArp(announcement(THEIRS, '192.0.2.200'))).toEqual([{ ip: '192.0.2.200', mac: THEIRS }]);
});

test('a neighbour solicitation goes to the solicited-node group, with hop limit 255 and a right checksum', () => {
  const frame = question(MINE, '2001:db8:2::12:c8');
  expect(frame.subarray(0, 6).toString('hex')).toBe('3333ff1200c8');
  expect(frame.subarray(14 + 24, 14 + 40).toString('hex')).toBe('ff0200000000000000000001ff1200c8');
  expect(frame[14 + 7]).toBe(255);
  const advert = announcement(THEIRS, '2001:db8:2::c8').subarray(14 + 40);
  expect(readAdvert(advert)).toEqual([{ ip: '2001:db8:2::c8', mac: THEIRS }]);
});

test('what is cut off or something else says nothing', () => {
  const frame = announcement(THEIRS, '192.0.2.200');
  for (let n = 0; n < 42; n++) expect(readArp(frame.subarray(0, n))).toEqual([]);
  const advert = announcement(THEIRS, '2001:db8::1').subarray(14 + 40);
  for (let n = 0; n < 24; n++) expect(readAdvert(advert.subarray(0, n))).toEqual([]);
  expect(readAdvert(advert.subarray(0, 24))).toEqual([{ ip: '2001:db8::1', mac: 'an unknown device' }]);
  expect(readAdvert(Buffer.from(advert.map((b, i) => (i === 0 ? 135 : b))))).toEqual([]);
});
