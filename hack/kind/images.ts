import { copyFileSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { readManifests } from '../../lib/manifests/read.ts';

/** Prints each image that the manifests name, with the ports that its containers declare: "nginx 8080,5353/udp". */

type Container = { image?: string; ports?: { containerPort: number; protocol?: string }[] };
const ports = new Map<string, Set<string>>();

function visit(value: unknown): void {
  if (Array.isArray(value)) for (const v of value) visit(v);
  if (typeof value !== 'object' || value === null) return;
  const { containers } = value as { containers?: Container[] };
  for (const { image, ports: list = [] } of containers ?? []) {
    if (image === undefined) continue;
    const known = ports.get(image) ?? new Set();
    for (const p of list) known.add(p.protocol === 'UDP' ? `${p.containerPort}/udp` : String(p.containerPort));
    ports.set(image, known);
  }
  for (const v of Object.values(value)) visit(v);
}

for (const path of process.argv.slice(2)) visit(readManifests(path));
for (const [image, list] of ports) console.log(`${image} ${[...list].join(',')}`);

// The build's context: one file.
const dist = join(import.meta.dirname, '../../dist');
mkdirSync(join(dist, 'stand-in'), { recursive: true });
copyFileSync(join(dist, 'bulkhead-stand-in.mjs'), join(dist, 'stand-in/bulkhead-stand-in.mjs'));
