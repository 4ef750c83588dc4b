import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

type Component = {
  readonly type: string;
  readonly name: string;
  readonly version: string;
  readonly purl: string;
  readonly 'bom-ref'?: string;
  readonly [field: string]: unknown;
};
export type Sbom = {
  readonly metadata: object;
  readonly components: readonly Component[];
  readonly [field: string]: unknown;
};

/** Shipped with the image, though no program imports them: Node runs the programs, Bun is inside the CNI plugin. */
const RUNTIMES = ['node_modules/node', 'node_modules/bun'];

/**
 * A CycloneDX list of all that a release consists of: npm's own list of the packages that the programs need, whatever else went into a
 * bundle (npm leaves out what tools use as well), the two runtimes, and the Debian packages of the image's base.
 */
export function sbomOf(
  root: string,
  version: string,
  { inputs, debian }: { readonly inputs: readonly string[]; readonly debian: readonly Component[] },
): Sbom {
  const text = execFileSync('npm', ['sbom', '--sbom-format', 'cyclonedx', '--omit', 'dev'], {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 64 << 20,
  });
  const sbom = JSON.parse(text) as Sbom;
  const here = new Set(sbom.components.map((c) => c.purl));
  const more = [...bundledPackages(inputs).keys(), ...RUNTIMES].map((folder) => npmPackage(join(root, folder)));
  const component = { type: 'application', name: 'bulkhead', version, purl: `pkg:npm/bulkhead@${version}` };
  return {
    ...sbom,
    metadata: { ...sbom.metadata, component: { 'bom-ref': `bulkhead@${version}`, ...component } },
    components: [...sbom.components, ...more.filter((c) => !here.has(c.purl)), ...debian],
  };
}

function npmPackage(folder: string): Component {
  const { name, version, license } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as {
    name: string;
    version: string;
    license?: string;
  };
  return {
    'bom-ref': `${name}@${version}`,
    type: 'library',
    name,
    version,
    purl: `pkg:npm/${name.replace('@', '%40')}@${version}`,
    ...(license === undefined ? {} : { licenses: [{ license: { name: license } }] }),
  };
}

/** Packages of a Debian system, from its /var/lib/dpkg/status. */
export function debianPackages(status: string): Component[] {
  return status.split('\n\n').flatMap((stanza) => {
    const field = (name: string): string | undefined => new RegExp(`^${name}: (.*)$`, 'm').exec(stanza)?.[1];
    const [name, version, arch] = [field('Package'), field('Version'), field('Architecture')];
    if (name === undefined || version === undefined || arch === undefined) return [];
    const purl = `pkg:deb/debian/${name}@${encodeURIComponent(version)}?arch=${arch}`;
    return [{ 'bom-ref': purl, type: 'library', name, version, purl }];
  });
}

/** Folders of the npm packages that bundled files came from, each with its name: "node_modules/@a/b" → "@a/b". */
export const bundledPackages = (inputs: readonly string[]): ReadonlyMap<string, string> =>
  new Map(
    inputs.flatMap((file) => {
      const [, folder, name] = /^(.*node_modules\/((?:@[^/]+\/)?[^/]+))\//.exec(file) ?? [];
      return folder === undefined || name === undefined ? [] : [[folder, name] as const];
    }),
  );
