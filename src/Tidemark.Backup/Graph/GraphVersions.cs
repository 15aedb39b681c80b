// What differs between the versions of QEMU in how they describe their graph: all of it is here. Each line names the
// versions on which it was measured (the storage daemon and the system emulator of 5.2, 7.2, 10.0 and 11.1, and some
// lines on more).
//
// Fields
//   dirty-bitmaps    recording, busy, persistent, granularity and count are there in all of 5.2, 7.2, 10.0, 11.1, and
//                    inconsistent is there when it is true. 5.2 says status besides, which says nothing more; from 7.2
//                    on it is gone. So the first five are required, and status is never read.
//   bitmaps' names   missing in all versions for bitmaps that belong to jobs: these are passed over.
//   children         11.1 lists a node's children in query-named-block-nodes; 5.2, 7.2 and 10.0 do not.
//   edges            x-debug-query-block-graph has every edge in all of 5.2, 7.2, 10.0, 11.1. It is a debugging
// command:                    where it is gone, children serve, and where these are not there, file names.
//   extended-l2      in a qcow2 image's format-specific data from 5.2 on; without it there are no subclusters.
//
// Filters
//   backup-top       the implicit filter of a backup job up to 6.1, over its backing child (5.2); copy-before-write,
//                    over its file child, from 6.2 on (6.2, 7.2, 10.0, 11.1). It is under the guest's export or
//                    device, and never between a scratch and its backing disk.
//   mirror_top, commit_top    the implicit filters of mirror and commit jobs: over their backing child, all versions.
//   copy-on-read, throttle    over their file child, all versions. Up to 5.1 an export's search for a bitmap stopped at
//                    them; from 5.2 on it looks through.
//   preallocate      from 6.0 (not in 5.2; in 7.2, 10.0, 11.1), compress in all: over their file child.
//   snapshot-access  from 7.0 (7.2, 10.0, 11.1) is no filter: it shows its child's past, and no search for a bitmap
//                    passes it.
//
// The effective node of a disk
//   Up to 10.0 a disk opened as libvirt opens it has a format node over a protocol node, also for raw. With a newer
//   QEMU the protocol node alone may be the disk: a node of a protocol driver under no format node is a disk's own
//   node like any other.

namespace Tidemark.Backup.Graph;

/// <summary>The differences between versions of QEMU in how they describe their graph, in one place.</summary>
internal static class GraphVersions
{
    /// <summary>The filters whose child is their <c>file</c> child.</summary>
    internal static readonly string[] FiltersOverFile =
        ["copy-before-write", "throttle", "copy-on-read", "compress", "preallocate", "blkdebug",
         "blklogwrites", "blkreplay"];

    /// <summary>The filters whose child is their <c>backing</c> child.</summary>
    internal static readonly string[] FiltersOverBacking = ["backup-top", "mirror_top", "commit_top"];

    private static readonly string[] s_protocols =
        ["file", "host_device", "host_cdrom", "nbd", "http", "https", "ftp", "ftps", "null-co", "null-aio", "rbd",
         "ssh", "iscsi", "gluster", "nfs", "nvme", "io_uring", "virtio-blk-vhost-vdpa"];

    /// <summary>Whether a driver reaches bytes itself, under a format or alone.</summary>
    internal static bool IsProtocol(string driver) => s_protocols.Contains(driver, StringComparer.Ordinal);

    /// <summary>A bitmap as all versions describe it.</summary>
    /// <exception cref="GraphException">A field that all versions have is missing.</exception>
    internal static NodeBitmap ReadBitmap(System.Text.Json.JsonElement bitmap, string name, string what) => new(
        name,
        GraphField.Number(bitmap, "granularity", what),
        GraphField.Number(bitmap, "count", what),
        GraphField.Flag(bitmap, "recording", what),
        GraphField.Flag(bitmap, "persistent", what),
        GraphField.Flag(bitmap, "inconsistent", what, absent: false),
        GraphField.Flag(bitmap, "busy", what));
}
