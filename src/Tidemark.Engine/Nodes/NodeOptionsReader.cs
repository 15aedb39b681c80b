using System.Text.Json;
using Tidemark.Nbd.Protocol;
using Tidemark.Qmp;

namespace Tidemark.Engine.Nodes;

/// <summary>Reads <c>BlockdevOptions</c> (qapi/block-core.json). What QEMU has and this does not is refused by
/// name.</summary>
internal static class NodeOptionsReader
{
    private const long DefaultNullSize = 1L << 30;

    // QEMU's other drivers: known, and not supported here.
    private static readonly HashSet<string> s_otherDrivers = new(StringComparer.Ordinal)
    {
        "blklogwrites", "blkreplay", "blkverify", "bochs", "cloop", "compress", "copy-on-read", "dmg", "ftp", "ftps",
        "gluster", "host_cdrom", "host_device", "http", "https", "io_uring", "iscsi", "luks", "nfs", "null-aio",
        "nvme", "nvme-io_uring", "parallels", "preallocate", "qcow", "qed", "quorum", "rbd", "replication", "ssh",
        "throttle", "vdi", "vhdx", "virtio-blk-vfio-pci", "virtio-blk-vhost-user", "virtio-blk-vhost-vdpa", "vmdk",
        "vpc",
        "vvfat", "blkdebug",
    };

    /// <summary>Reads one node. Nothing is opened.</summary>
    /// <exception cref="QmpException">An option is missing, unknown, or not supported; it is named.</exception>
    internal static NodeOptions Read(QmpArguments options)
    {
        var driver = options.GetString("driver");
        return driver switch
        {
            "file" => Common(options, ReadFile(options)),
            "raw" => Common(options, ReadRaw(options)),
            "qcow2" => Common(options, ReadQcow2(options)),
            "nbd" => Common(options, ReadNbd(options)),
            "copy-before-write" => Common(options, ReadCopyBeforeWrite(options)),
            "snapshot-access" => Common(options, new SnapshotAccessNodeOptions(ReadChild(options, "file"))),
            "null-co" => Common(options, ReadNull(options)),
            _ when s_otherDrivers.Contains(driver) => throw new QmpException(
                QmpException.GenericError, $"Driver '{driver}' is not supported"),
            _ => throw QmpArguments.BadChoice("driver", driver),
        };
    }

    private static NodeOptions Common(QmpArguments options, NodeOptions node)
    {
        var cache = options.FindObject("cache");
        foreach (var name in (ReadOnlySpan<string>)["direct", "no-flush"])
        {
            if (cache?.FindBoolean(name) == true)
            {
                throw cache.NotSupported(name);
            }
        }

        if (options.FindChoice("detect-zeroes", "off", "on", "unmap") is not (null or "off"))
        {
            throw options.NotSupported("detect-zeroes");
        }

        var forceShare = options.FindBoolean("force-share") ?? false;
        var readOnly = options.FindBoolean("read-only");
        if (forceShare && readOnly != true)
        {
            throw new QmpException(QmpException.GenericError, "force-share=on can only be used with read-only images");
        }

        return node with
        {
            NodeName = options.FindString("node-name"),
            ReadOnly = readOnly,
            AutoReadOnly = options.FindBoolean("auto-read-only") ?? false,
            ForceShare = forceShare,
            Discards = options.FindChoice("discard", "ignore", "unmap") switch
            {
                null => null,
                var choice => choice == "unmap",
            },
        };
    }

    private static FileNodeOptions ReadFile(QmpArguments options)
    {
        options.RefuseUnsupported("pr-manager", "drop-cache", "x-check-cache-dropped", "aio-max-batch");
        if (options.FindChoice("aio", "threads", "native", "io_uring") is not (null or "threads"))
        {
            throw options.NotSupported("aio");
        }

        var fileName = options.GetString("filename");
        var locking = options.FindChoice("locking", "auto", "on", "off");
        return new FileNodeOptions(fileName, locking is null or "auto" ? null : locking == "on");
    }

    private static RawNodeOptions ReadRaw(QmpArguments options) =>
        new(ReadChild(options, "file"), options.FindSize("offset") ?? 0, options.FindSize("size"));

    private static Qcow2NodeOptions ReadQcow2(QmpArguments options)
    {
        options.RefuseUnsupported(
            "lazy-refcounts", "pass-discard-request", "pass-discard-snapshot", "pass-discard-other", "discard-no-unref",
            "overlap-check", "cache-size", "l2-cache-size", "l2-cache-entry-size", "refcount-cache-size",
            "cache-clean-interval", "encrypt", "data-file");
        var noBacking = options.Has("backing") && options.FindRaw("backing").ValueKind == JsonValueKind.Null;
        return new Qcow2NodeOptions(
            ReadChild(options, "file"), noBacking, noBacking ? null : FindChild(options, "backing"));
    }

    private static NbdDriverOptions ReadNbd(QmpArguments options)
    {
        options.RefuseUnsupported(
            "tls-creds", "tls-hostname", "x-dirty-bitmap", "reconnect-delay", "open-timeout");
        var server = options.GetObject("server");
        return new NbdDriverOptions(ReadSocketAddress(server), options.FindString("export") ?? "");
    }

    /// <summary>Reads a flat <c>SocketAddress</c>: unix with a path, or inet with a host and a port.</summary>
    /// <param name="address">The address object.</param>
    /// <param name="wrapped">Whether its members stand in an object <c>data</c>, as in older commands.</param>
    internal static NbdEndPoint ReadSocketAddress(QmpArguments address, bool wrapped = false)
    {
        var type = address.GetChoice("type", "inet", "unix", "vsock", "fd");
        var typeName = address.FullName("type");
        address = wrapped ? address.GetObject("data") : address;
        switch (type)
        {
            case "unix":
                RefuseTrue(address, "abstract", "tight");
                return NbdEndPoint.ForUnix(address.GetString("path"));
            case "inet":
                address.RefuseUnsupported("to", "ipv4", "ipv6", "keep-alive", "mptcp", "numeric");
                var host = address.GetString("host");
                return NbdEndPoint.ForTcp(host, ReadPort(address));
            default:
                throw new QmpException(
                    QmpException.GenericError, $"Parameter '{typeName}' does not support value '{type}'");
        }
    }

    private static int ReadPort(QmpArguments address)
    {
        var text = address.GetString("port");
        return ushort.TryParse(text, out var port)
            ? port
            : throw new QmpException(QmpException.GenericError, $"'{text}' is no TCP port");
    }

    private static void RefuseTrue(QmpArguments options, params ReadOnlySpan<string> names)
    {
        foreach (var name in names)
        {
            if (name == "tight" ? options.Has(name) : options.FindBoolean(name) == true)
            {
                throw options.NotSupported(name);
            }
        }
    }

    private static CopyBeforeWriteNodeOptions ReadCopyBeforeWrite(QmpArguments options)
    {
        var file = ReadChild(options, "file");
        var target = ReadChild(options, "target");
        var bitmap = options.FindObject("bitmap");
        var bitmapNode = bitmap?.GetString("node");
        var bitmapName = bitmap?.GetString("name");
        options.RefuseUnsupported("min-cluster-size");
        return new CopyBeforeWriteNodeOptions(
            file, target, bitmapNode, bitmapName, ReadOnCbwError(options), ReadTimeout(options));
    }

    /// <summary>Reads <c>on-cbw-error</c>; null when it is not said.</summary>
    internal static bool? ReadOnCbwError(QmpArguments options) =>
        options.FindChoice("on-cbw-error", "break-guest-write", "break-snapshot") switch
        {
            null => null,
            "break-guest-write" => true,
            _ => false,
        };

    /// <summary>Reads <c>cbw-timeout</c>, in whole seconds; none and 0 are no limit.</summary>
    internal static TimeSpan? ReadTimeout(QmpArguments options) =>
        options.FindInteger("cbw-timeout") switch
        {
            null or 0 => null,
            >= 0 and <= uint.MaxValue and var seconds => TimeSpan.FromSeconds(seconds),
            _ => throw new QmpException(
                QmpException.GenericError, $"Parameter '{options.FullName("cbw-timeout")}' expects uint32"),
        };

    private static NullNodeOptions ReadNull(QmpArguments options)
    {
        options.RefuseUnsupported("latency-ns");
        return new NullNodeOptions(
            options.FindSize("size") ?? DefaultNullSize, options.FindBoolean("read-zeroes") ?? false);
    }

    private static ChildOptions ReadChild(QmpArguments options, string name) =>
        FindChild(options, name) ?? throw options.Missing(name);

    private static ChildOptions? FindChild(QmpArguments options, string name) =>
        options.FindStringOrObject(name) switch
        {
            ({ } text, _) => new ChildOptions(text, null),
            (_, { } inline) => new ChildOptions(null, Read(inline)),
            _ => null,
        };
}
