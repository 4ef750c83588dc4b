import { stringify } from 'yaml';

/** The manifest by which krew installs the plugin. The archive is to lie beside the other files of the release. */
export function krewManifest({
  version,
  archive,
  sha256,
  url,
}: {
  readonly version: string;
  readonly archive: string;
  readonly sha256: string;
  readonly url: string;
}): string {
  return stringify(
    {
      apiVersion: 'krew.googlecontainertools.github.com/v1alpha2',
      kind: 'Plugin',
      metadata: { name: 'bulkhead' },
      spec: {
        version: `v${version}`,
        homepage: url,
        shortDescription: 'Ask who reaches whom, and why, in a cluster with Bulkhead',
        description:
          'Shows networks, measures and explains reachability between pods, checks policies, and moves namespaces\nto networks of their own, with a dry run.',
        caveats: 'Needs Node.js 22 or newer on the PATH.',
        platforms: [
          {
            // One file of JavaScript; the shebang of it is not for Windows.
            selector: { matchExpressions: [{ key: 'os', operator: 'In', values: ['linux', 'darwin'] }] },
            uri: `${url}/releases/v${version}/${archive}`,
            sha256,
            files: [
              { from: 'kubectl-bulkhead', to: '.' },
              { from: 'LICENSE', to: '.' },
            ],
            bin: 'kubectl-bulkhead',
          },
        ],
      },
    },
    { lineWidth: 0 },
  );
}
