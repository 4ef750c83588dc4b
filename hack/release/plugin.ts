import { join } from 'node:path';
import { build, type Metafile, type Plugin } from 'esbuild';
import { programVersion } from '../version.ts';

/**
 * kubectl-bulkhead as one file: the command line without the lab, which needs root and a checkout. It runs on any system that has
 * Node.js 22 or newer and kubectl.
 */
export async function buildPlugin(root: string, outfile: string): Promise<Metafile> {
  const { metafile } = await build({
    absWorkingDir: root,
    entryPoints: ['cli/main.ts'],
    outfile,
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: `node${OLDEST}`,
    minify: true,
    legalComments: 'eof',
    metafile: true,
    define: { BULKHEAD_VERSION: JSON.stringify(programVersion(root)) },
    plugins: [withoutLab(root)],
    banner: { js: [FIRST_LINE, VERSION_CHECK, REQUIRE].join('\n') },
    logLevel: 'warning',
  });
  return metafile;
}

const OLDEST = 22;
const FIRST_LINE = '#!/usr/bin/env node';
/** Before anything that an older one does not know. */
const VERSION_CHECK = `if (parseInt(process.versions.node) < ${OLDEST}) { console.error(\`bulkhead: needs Node.js ${OLDEST} or newer; \${process.execPath} is \${process.versions.node}\`); process.exit(1); }`;
/** Bundled CommonJS packages still call require(). */
const REQUIRE =
  "import { createRequire as __createRequire } from 'node:module'; const require = __createRequire(import.meta.url);";

/** Modules that only a checkout can use, and what stands for them. */
const LEFT_OUT = [
  'cli/lab/command.ts',
  'cli/target/lab-target.ts',
  'cli/target/lab-status.ts',
  'cli/cluster/node-probe.ts',
];

const withoutLab = (root: string): Plugin => ({
  name: 'without-lab',
  setup(builder) {
    const left = new Set(LEFT_OUT.map((file) => join(root, file)));
    builder.onResolve({ filter: /^\.{1,2}\// }, ({ path, resolveDir }) =>
      left.has(join(resolveDir, path)) ? { path: join(root, 'cli/target/no-lab.ts') } : undefined,
    );
  },
});
