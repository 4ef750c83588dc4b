import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { CONFLIST, otherNetwork, writeConflist } from '../../dataplane/cniserver/conflist.ts';
import { installPlugin } from '../../dataplane/cniserver/plugin.ts';
import { readPortMappings } from '../../dataplane/attach/port-mappings.ts';
import { NodeState } from '../../dataplane/node-state.ts';
import { probeFeatures } from '../../dataplane/probe/features.ts';

const dirs: string[] = [];
const scratch = (): string => {
  const dir = mkdtempSync(join(tmpdir(), 'bulkhead-node-'));
  dirs.push(dir);
  return dir;
};
afterEach(() => {
  for (const d of dirs.splice(0)) rmSync(d, { recursive: true });
});

describe('what a node can do', () => {
  test('this kernel has all that is needed, and the probe leaves nothing behind', () => {
    const dir = scratch();
    expect(probeFeatures(dir).filter((l) => l.required)).toEqual([]);
    expect(readdirSync(dir)).toEqual([]);
  });

  test('a missing feature keeps pods away and says why; a missing nicety does not', () => {
    const lack = { feature: 'vxlan', required: true, message: 'load module vxlan' };
    const dir = scratch();
    const bad = new NodeState([lack], dir);
    bad.waitsFor = undefined;
    expect(bad.serving).toBe(false);
    expect(bad.missing()).toContain('vxlan: load module vxlan');
    expect(bad.problems()).toEqual([expect.objectContaining({ reason: 'KernelFeatureMissing', blocking: true })]);
    const fine = new NodeState([{ ...lack, required: false }], dir);
    fine.waitsFor = undefined;
    expect(fine.serving).toBe(true);
    expect(fine.problems()).toEqual([expect.objectContaining({ blocking: false })]);
  });

  test('a full state disk is told', () => {
    const state = new NodeState([], scratch());
    state.notSaved = new Error('ENOSPC');
    expect(state.problems()[0]).toMatchObject({
      reason: 'StateNotWritable',
      message: expect.stringContaining('ENOSPC') as string,
    });
  });
});

describe('beside other networks', () => {
  test('ours is used only when it is the first; the files of others stay as they are', () => {
    const dir = scratch();
    expect(otherNetwork(dir)).toBeUndefined();
    for (const [other, first] of [
      ['10-x.conflist', true],
      ['99-y.conf', true],
      ['README', false],
    ] as const) {
      const path = join(dir, other);
      writeFileSync(path, 'theirs');
      writeConflist(dir, '/run/bulkhead/cni.sock');
      expect(otherNetwork(dir)).toBe(first ? other : undefined);
      expect(readdirSync(dir).sort()).toEqual([CONFLIST, other].sort());
      rmSync(path);
    }
  });

  test('the plugin is renamed into place, and left alone when it is the same', () => {
    const [source, dir] = [join(scratch(), 'plugin'), scratch()];
    writeFileSync(source, 'one');
    installPlugin(source, dir);
    writeFileSync(source, 'two');
    installPlugin(source, dir);
    installPlugin(source, dir);
    expect(readdirSync(dir)).toEqual(['bulkhead']);
  });
});

describe('port mappings', () => {
  test('are read in the words of any runtime', () => {
    const convention = { hostPort: 80, containerPort: 8080, protocol: 'tcp', hostIP: '' };
    const containerd = { HostPort: 80, ContainerPort: 8080, Protocol: 'TCP', HostIP: '0.0.0.0' };
    for (const item of [convention, containerd])
      expect(readPortMappings({ runtimeConfig: { portMappings: [item] } })).toEqual({
        mappings: [convention],
        problems: [],
      });
    expect(readPortMappings({})).toEqual({ mappings: [], problems: [] });
  });

  test('every problem is named with its field', () => {
    const { problems } = readPortMappings({
      runtimeConfig: { portMappings: [{ hostPort: 70_000, containerPort: 'x', protocol: 'icmp', hostIP: 'here' }] },
    });
    expect(problems.map((p) => p.split(':')[0])).toEqual(
      ['hostPort', 'containerPort', 'protocol', 'hostIP'].map((f) => `runtimeConfig.portMappings[0].${f}`),
    );
  });
});
