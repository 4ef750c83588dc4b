import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';
import { programVersion } from './version.ts';

/** Builds every program into dist/: one JavaScript file each, and the CNI plugin as a single executable. */

const root = join(import.meta.dirname, '..');
const dist = join(root, 'dist');
mkdirSync(dist, { recursive: true });

const PROGRAMS = {
  'bulkhead-controller': 'controller/main.ts',
  'bulkhead-agent': 'dataplane/main.ts',
  'bulkhead-lab': 'lab/main.ts',
  'bulkhead-stand-in': 'lab/stand-in.ts',
  bulkhead: 'cli/main.ts',
};

const { metafile } = await build({
  absWorkingDir: root,
  entryPoints: Object.entries(PROGRAMS)
    .filter(([, path]) => existsSync(join(root, path)))
    .map(([out, path]) => ({ in: path, out })),
  outdir: dist,
  bundle: true,
  platform: 'node',
  format: 'esm',
  target: 'node24',
  outExtension: { '.js': '.mjs' },
  sourcemap: 'linked',
  metafile: true,
  define: { BULKHEAD_VERSION: JSON.stringify(programVersion(root)) },
  // Native: finds its own binary beside its package.
  external: ['koffi'],
  // Bundled CommonJS packages still call require().
  banner: {
    js: "import { createRequire as __createRequire } from 'node:module'; const require = __createRequire(import.meta.url);",
  },
  logLevel: 'warning',
});
// What went into them: the release lists the packages.
writeFileSync(join(dist, 'inputs.json'), JSON.stringify(Object.keys(metafile.inputs)));

// Bun writes the executable; a bytecode cache saves the parse at each start. Only when the plugin's sources are newer.
// In a folder of its own, under the name that network configurations use: the folder can be a runtime's CNI bin dir.
const plugin = join(dist, 'cni', 'bulkhead');
mkdirSync(join(dist, 'cni'), { recursive: true });
const sources = ['main.ts', 'skel.ts', 'spec.ts', 'agent.ts']
  .map((f) => join(root, 'cni-plugin', f))
  .concat(join(root, 'api/cni.ts'));
const newest = Math.max(...sources.map((f) => statSync(f).mtimeMs));
if (!existsSync(plugin) || statSync(plugin).mtimeMs < newest) {
  const bundle = join(dist, 'bulkhead-cni.js');
  await build({
    absWorkingDir: root,
    entryPoints: ['cni-plugin/main.ts'],
    outfile: bundle,
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node24',
    minify: true,
  });
  // Bytecode needs CommonJS, which has no top-level await: Bun wraps the module itself.
  const bun = join(root, 'node_modules/.bin/bun');
  execFileSync(bun, ['build', '--compile', '--bytecode', '--minify', '--format=esm', bundle, '--outfile', plugin], {
    stdio: ['ignore', 'ignore', 'inherit'],
    cwd: dist,
  });
  chmodSync(plugin, 0o755);
}
