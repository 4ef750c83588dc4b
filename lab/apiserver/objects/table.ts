import { columnsOf } from './columns.ts';
import type { ResourceType } from './resources.ts';
import type { StoredObject } from './store.ts';

/** Objects as rows, as `kubectl get` asks for them. */
export function table(
  type: ResourceType,
  objects: readonly StoredObject[],
  resourceVersion: string,
  more: object = {},
  withoutColumns = false,
): object {
  const columns = columnsOf(type);
  return {
    kind: 'Table',
    apiVersion: 'meta.k8s.io/v1',
    metadata: { resourceVersion, ...more },
    columnDefinitions: withoutColumns
      ? null
      : columns.map((c) => ({
          name: c.name,
          type: c.type ?? 'string',
          format: c.name === 'Name' ? 'name' : '',
          description: '',
          priority: c.wide ? 1 : 0,
        })),
    rows: objects.map((o) => ({
      cells: columns.map((c) => c.value(o) ?? ''),
      object: { kind: 'PartialObjectMetadata', apiVersion: 'meta.k8s.io/v1', metadata: o.metadata },
    })),
  };
}
