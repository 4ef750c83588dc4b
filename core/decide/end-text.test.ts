import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { END_FORMS, parseEnd } from './end-text.ts';

const at = (kind: string, namespace: string, name: string) => ({ kind, namespace, name });

describe('ends of connections', () => {
  test.each([
    ['a/b', at('Any', 'a', 'b'), {}],
    ['b', at('Any', 'default', 'b'), {}],
    ['a/b:80', at('Any', 'a', 'b'), { port: 80 }],
    ['a/b:http', at('Any', 'a', 'b'), { port: 'http' }],
    ['a/b:53/udp', at('Any', 'a', 'b'), { port: 53, protocol: 'UDP' }],
    ['a/b/icmp', at('Any', 'a', 'b'), { protocol: 'ICMP' }],
    ['a/tcp', at('Any', 'a', 'tcp'), {}],
    ['pod/a/b', at('Pod', 'a', 'b'), {}],
    ['svc/a/b:80', at('Service', 'a', 'b'), { port: 80 }],
    ['svc/b', at('Service', 'default', 'b'), {}],
    ['svc/a/udp', at('Service', 'a', 'udp'), {}],
    ['svc/a/b/udp', at('Service', 'a', 'b'), { protocol: 'UDP' }],
    ['deploy/a/b:9000/TCP', { ...at('Workload', 'a', 'b'), workload: 'Deployment' }, { port: 9000, protocol: 'TCP' }],
    ['cronjob/a/b', { ...at('Workload', 'a', 'b'), workload: 'CronJob' }, {}],
    ['node/n1', { kind: 'Node', name: 'n1' }, {}],
    ['node/n1.example:10250', { kind: 'Node', name: 'n1.example' }, { port: 10250 }],
    ['node/n1/icmp', { kind: 'Node', name: 'n1' }, { protocol: 'ICMP' }],
    ['api', { kind: 'Api' }, {}],
    ['api:443', { kind: 'Api' }, { port: 443 }],
    ['internet/udp', { kind: 'Internet' }, { protocol: 'UDP' }],
    ['10.0.0.1', { kind: 'Address', ip: '10.0.0.1' }, {}],
    ['10.0.0.1:80/sctp', { kind: 'Address', ip: '10.0.0.1' }, { port: 80, protocol: 'SCTP' }],
    ['10.0.0.1/icmp', { kind: 'Address', ip: '10.0.0.1' }, { protocol: 'ICMP' }],
    ['2001:db8:0::1', { kind: 'Address', ip: '2001:db8::1' }, {}],
    ['[2001:db8::1]', { kind: 'Address', ip: '2001:db8::1' }, {}],
    ['[2001:db8::1]:53/udp', { kind: 'Address', ip: '2001:db8::1' }, { port: 53, protocol: 'UDP' }],
    ['::ffff:10.0.0.1', { kind: 'Address', ip: '10.0.0.1' }, {}],
    ['[::ffff:a00:1]:80', { kind: 'Address', ip: '10.0.0.1' }, { port: 80 }],
    ['[2001:db8::1]/icmp', { kind: 'Address', ip: '2001:db8::1' }, { protocol: 'ICMP' }],
  ])('%s', (text, place, rest) => {
    expect(parseEnd(text)).toEqual({ end: { text, place, ...rest }, problems: [] });
  });

  test('a name without a namespace is of the one that is said', () => {
    expect(parseEnd('web', { namespace: 'shop' }).end?.place).toEqual(at('Any', 'shop', 'web'));
    expect(parseEnd('deploy/web', { namespace: 'shop' }).end?.place).toMatchObject({ namespace: 'shop', name: 'web' });
    expect(parseEnd('a/web', { namespace: 'shop' }).end?.place).toEqual(at('Any', 'a', 'web'));
  });

  test.each([
    ['a/b:0', [/port 0 is not from 1 to 65535/]],
    ['a/b:65536/xyz', [/protocol xyz is not tcp/, /port 65536 is not/]],
    ['a/b:80/icmp', [/ICMP has no ports/]],
    ['a/b:', [/port \(nothing\)/]],
    ['a/b:80/', [/protocol \(nothing\)/]],
    ['a/b:-1', [/neither a number nor the name/]],
    ['', [/\(nothing\): not an end/]],
    ['/', [/NAMESPACE\/POD, svc\/NAMESPACE\/NAME, node\/NAME, api, internet, an IP address/]],
    ['a/b/c', [/not an end/]],
    ['node/a/b', [/not an end/]],
    ['[1.2.3.4', [/not an end/]],
    ['[::1]x', [/not an end/]],
    ...['127.0.0.1', '127.9.9.9:80', '::1', '[::1]:80', '0.0.0.0', '::', '::ffff:127.0.0.1'].map(
      (text): [string, RegExp[]] => [text, [/the sender itself/]],
    ),
    ...['224.0.0.251', 'ff02::1', '[ff02::fb]:5353/udp', '255.255.255.255'].map((text): [string, RegExp[]] => [
      text,
      [/no single host/],
    ]),
  ])('%s is refused, with all that is wrong', (text, messages) => {
    const { end, problems } = parseEnd(text);
    expect(end).toBeUndefined();
    expect(problems).toHaveLength(messages.length);
    for (const [i, m] of messages.entries()) expect(problems[i]).toMatch(m);
  });

  test('any text is read or refused with a reason; what is read says what was written', () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom(...'ab/:[]1.0tcpicmp svcnode'.split('')) }), (text) => {
        const { end, problems } = parseEnd(text);
        expect(end === undefined).toBe(problems.length > 0);
        if (end) expect(end.text).toBe(text);
      }),
      { numRuns: 5_000 },
    );
  });

  test('the help names every form that the tests use', () => {
    for (const form of ['NAMESPACE/POD', 'svc/', 'node/', 'api', 'internet', 'IP', 'deploy/', ':PORT', '/udp'])
      expect(END_FORMS).toContain(form);
  });
});
