import { existsSync, readdirSync, statfsSync } from 'node:fs';
import { openNetlink } from '../../lib/netlink/netlink.ts';
import { createNetns, deleteNetns } from '../../lib/netns/netns.ts';
import { netnsName, VXLAN_DEV } from '../plan/names.ts';

/** The namespaces of instances, as files of one directory: "bh-VNI". */
export class Namespaces {
  readonly #dir: string;

  constructor(dir: string) {
    this.#dir = dir;
  }

  pathOf(vni: number): string {
    return `${this.#dir}/${netnsName(vni)}`;
  }

  /** The namespace of a VNI, made when it is not there. */
  ensure(vni: number): { readonly path: string; readonly fresh: boolean } {
    const path = this.pathOf(vni);
    const fresh = !isNetns(path);
    if (fresh) {
      deleteNetns(path); // a file that a crash left behind
      createNetns(path);
    }
    return { path, fresh };
  }

  /** All that are there, also those of an earlier life of this agent. */
  vnis(): number[] {
    return readdirSync(this.#dir).flatMap((name) => {
      const vni = /^bh-(\d+)$/.exec(name)?.[1];
      return vni === undefined ? [] : [Number(vni)];
    });
  }

  /**
   * Takes the namespace away, at once its VXLAN device: any process may have the namespace open and keep it alive, and the kernel has only
   * one device for a VNI, whichever namespace that is in.
   */
  remove(vni: number): void {
    const path = this.pathOf(vni);
    if (isNetns(path)) {
      using netlink = openNetlink(path);
      netlink.apply([{ verb: 'delete', kind: 'link', name: VXLAN_DEV }]); // whatever comes of it: the rest goes on
    }
    deleteNetns(path);
  }
}

/** NSFS_MAGIC of linux/magic.h. */
const NSFS = 0x6e736673;

/** A namespace kept under a path is a mount; what a crash between open and mount leaves is a plain file. */
const isNetns = (path: string): boolean => existsSync(path) && statfsSync(path).type === NSFS;
