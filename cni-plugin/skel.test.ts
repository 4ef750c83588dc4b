import { describe, expect, test } from 'vitest';
import type { CniRequest, CniResponse, CniResult } from '../api/cni.ts';
import { PluginError, runPlugin } from './skel.ts';

const RESULT: CniResult = {
  interfaces: [
    { name: 'bhp1', mac: '02:00:00:00:00:01', mtu: 1450 },
    { name: 'eth0', mac: '02:00:00:00:00:02', mtu: 1450, sandbox: '/run/netns/x' },
  ],
  ips: [
    { interface: 1, address: '10.244.1.5/32', gateway: '169.254.1.1' },
    { interface: 1, address: 'fd00::5/128', gateway: 'fe80::1' },
  ],
  routes: [{ dst: '0.0.0.0/0', gw: '169.254.1.1' }],
  dns: {},
};
const ENV = {
  CNI_COMMAND: 'ADD',
  CNI_CONTAINERID: 'c1',
  CNI_NETNS: '/run/netns/x',
  CNI_IFNAME: 'eth0',
  CNI_ARGS: 'IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web=1',
};
const CONF = { cniVersion: '1.1.0', name: 'bulkhead', type: 'bulkhead', socket: '/run/s' };

async function call(env: Record<string, string>, conf: unknown = CONF, answer: CniResponse = { result: RESULT }) {
  const asked: CniRequest[] = [];
  const outcome = await runPlugin({
    env,
    readStdin: () => (typeof conf === 'string' ? conf : JSON.stringify(conf)),
    ask: (_socket, request) => {
      asked.push(request);
      return Promise.resolve(answer);
    },
  });
  return {
    ...outcome,
    json: outcome.stdout === '' ? undefined : (JSON.parse(outcome.stdout) as Record<string, unknown>),
    asked,
  };
}

describe('the plugin', () => {
  test.each(['0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'])('prints a result of version %s', async (cniVersion) => {
    const { json, exitCode } = await call(ENV, { ...CONF, cniVersion });
    expect(exitCode).toBe(0);
    expect(json).toMatchObject({ cniVersion, ips: [{ address: '10.244.1.5/32' }, { address: 'fd00::5/128' }] });
    const old = cniVersion.startsWith('0.');
    expect((json?.['ips'] as { version?: string }[]).map((i) => i.version)).toEqual(
      old ? ['4', '6'] : [undefined, undefined],
    );
    expect((json?.['interfaces'] as { mtu?: number }[])[1]?.mtu).toBe(cniVersion === '1.1.0' ? 1450 : undefined);
  });

  test('tells the agent all that it was told', async () => {
    const { asked } = await call(ENV);
    expect(asked).toEqual([
      {
        verb: 'ADD',
        containerID: 'c1',
        netns: '/run/netns/x',
        ifname: 'eth0',
        args: { IgnoreUnknown: '1', K8S_POD_NAMESPACE: 'shop', K8S_POD_NAME: 'web=1' },
        config: CONF,
      },
    ]);
  });

  test('VERSION needs no agent', async () => {
    const { json, asked } = await call({ CNI_COMMAND: 'VERSION' }, { cniVersion: '0.4.0' });
    expect(json).toEqual({ cniVersion: '0.4.0', supportedVersions: ['0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'] });
    expect(asked).toEqual([]);
  });

  test.each(['DEL', 'CHECK', 'GC', 'STATUS'])('%s prints nothing when it is done', async (CNI_COMMAND) => {
    const { stdout, exitCode } = await call({ ...ENV, CNI_COMMAND }, CONF, { ok: true });
    expect([stdout, exitCode]).toEqual(['', 0]);
  });

  test('DEL needs no namespace: it may be gone', async () => {
    const { exitCode } = await call({ ...ENV, CNI_COMMAND: 'DEL', CNI_NETNS: '' }, CONF, { ok: true });
    expect(exitCode).toBe(0);
  });

  test.each([
    ['a version of the future', ENV, { ...CONF, cniVersion: '9.0.0' }, 1],
    ['no container', { ...ENV, CNI_CONTAINERID: '' }, CONF, 4],
    ['an evil container', { ...ENV, CNI_CONTAINERID: '../x' }, CONF, 4],
    ['no interface', { ...ENV, CNI_IFNAME: '' }, CONF, 4],
    ['an interface name too long', { ...ENV, CNI_IFNAME: 'x'.repeat(16) }, CONF, 4],
    ['no namespace', { ...ENV, CNI_NETNS: '' }, CONF, 4],
    ['an unknown verb', { ...ENV, CNI_COMMAND: 'DANCE' }, CONF, 4],
    ['no JSON', ENV, '{', 6],
    ['no object', ENV, '[]', 6],
    ['nothing', ENV, '', 7],
  ])('%s is refused by code', async (_name, env, conf, code) => {
    const { json, exitCode } = await call(env, conf);
    expect(exitCode).toBe(1);
    expect(json).toMatchObject({ code, msg: expect.stringMatching(/.{10}/) as string });
  });

  test('an error of the agent is passed on, and a dead agent is code 11', async () => {
    expect((await call(ENV, CONF, { error: { code: 100, msg: 'no', details: 'NetworkNotShared' } })).json).toEqual({
      cniVersion: '1.1.0',
      code: 100,
      msg: 'no',
      details: 'NetworkNotShared',
    });
    const dead = await runPlugin({
      env: ENV,
      readStdin: () => JSON.stringify(CONF),
      ask: () => Promise.reject(new PluginError(11, 'away')),
    });
    expect(JSON.parse(dead.stdout)).toMatchObject({ code: 11 });
  });
});
