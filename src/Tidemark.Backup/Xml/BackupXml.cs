using System.Net;
using Tidemark.Backup.Definitions;

namespace Tidemark.Backup.Xml;

/// <summary>libvirt's <c>domainbackup</c>, both ways: what it holds, its defaults, the order in which libvirt prints
/// it.</summary>
/// <remarks>
/// Read strictly: what libvirt's schema refuses is refused here, by name. Wider than the schema in two things: a disk's
/// name is any name without a slash, because a hypervisor without libvirt has disks called otherwise than <c>vda</c>;
/// and a disk's <c>type</c> may always be left out, and its <c>driver</c> stand alone, where the schema wants the one
/// with the other only in some of its branches.
/// </remarks>
public static class BackupXml
{
    private const string Root = "domainbackup";

    private static readonly string[] s_formats =
    [
        "raw", "dir", "bochs", "cloop", "dmg", "iso", "vpc", "vdi", "fat", "vhd", "ploop", "cow", "qcow", "qcow2",
        "qed", "vmdk",
    ];

    /// <summary>Reads a request.</summary>
    /// <param name="source">The document; stays the caller's.</param>
    /// <param name="isStatus">Whether it is the status of a running backup, which may hold what only Tidemark or
    /// libvirt writes: <c>state</c>, <c>index</c>, <c>privateData</c>.</param>
    /// <exception cref="BackupException">It is not of this form; <see cref="BackupException.Class"/> is
    /// <see cref="ErrorClass.Schema"/> then.</exception>
    public static BackupDefinition Parse(Stream source, bool isStatus = false)
    {
        var root = SafeXml.Read(source, "the backup's XML");
        return root.Name == Root
            ? Read(new ElementReader(root), isStatus)
            : throw ElementReader.Refuse($"the element is '{root.Name.LocalName}', not '{Root}'");
    }

    /// <summary>Reads a request from a text.</summary>
    /// <exception cref="BackupException">As <see cref="Parse(Stream, bool)"/>.</exception>
    public static BackupDefinition Parse(string text, bool isStatus = false)
    {
        using var stream = new MemoryStream(System.Text.Encoding.UTF8.GetBytes(text), writable: false);
        return Parse(stream, isStatus);
    }

    /// <summary>Prints a definition as libvirt does.</summary>
    public static string Format(BackupDefinition backup)
    {
        var text = new XmlText();
        text.Start(Root);
        text.Attribute("mode", backup.Mode.ToText());
        text.Text("incremental", backup.Incremental);
        if (backup.Server is { } server)
        {
            text.Start("server");
            text.Attribute("transport", ToText(server.Transport));
            text.Attribute("tls", server.Tls is { } tls ? YesNo(tls) : null);
            text.Attribute("name", server.Host);
            text.Attribute("port", server.Port);
            text.Attribute("socket", server.Socket);
            text.Attribute("fdgroup", server.FdGroup);
            text.End("server");
        }

        if (backup.Disks is { Count: > 0 } disks)
        {
            text.Start("disks");
            foreach (var disk in disks)
            {
                WriteDisk(text, disk, backup.Mode);
            }

            text.End("disks");
        }

        if (backup.PrivateData is { } data)
        {
            WritePrivateData(text, data);
        }

        text.End(Root);
        return text.ToString();
    }

    private static BackupDefinition Read(ElementReader root, bool isStatus)
    {
        var mode = root.Word("mode", ("push", BackupMode.Push), ("pull", BackupMode.Pull)) ?? BackupMode.Push;
        var incremental = root.ChildText("incremental");
        BackupServer? server = null;
        if (mode == BackupMode.Pull)
        {
            server = ReadServer(
                root.Child("server") ?? throw ElementReader.Refuse("mode 'pull' needs the element 'server'"));
        }

        IReadOnlyList<BackupDisk>? disks = null;
        if (root.Child("disks") is { } list)
        {
            List<BackupDisk> read = [.. list.Children("disk").Take(XmlLimits.MaximumDisks + 1)
                .Select(disk => ReadDisk(disk, mode, isStatus))];
            list.End();
            disks = read.Count is > 0 and <= XmlLimits.MaximumDisks
                ? read
                : throw ElementReader.Refuse($"element 'disks' holds 1 to {XmlLimits.MaximumDisks} disks");
        }

        var data = isStatus && root.Child("privateData") is { } child ? ReadPrivateData(child) : null;
        if (mode == BackupMode.Push && root.Child("server") is not null)
        {
            throw ElementReader.Refuse("use of <server> requires pull mode backup");
        }

        root.End();
        return new BackupDefinition
        {
            Mode = mode, Incremental = incremental, Server = server, Disks = disks, PrivateData = data,
        };
    }

    private static BackupServer ReadServer(ElementReader element)
    {
        var transport = element.Word(
            "transport",
            ("tcp", ServerTransport.Tcp),
            ("unix", ServerTransport.Unix),
            ("fd", ServerTransport.Fd)) ?? ServerTransport.Tcp;
        var server = new BackupServer { Transport = transport, Tls = element.YesNo("tls") };
        switch (transport)
        {
            case ServerTransport.Tcp:
                var host = element.Required("name");
                server = IsHost(host) ? server with { Host = host } : throw element.BadValue("name", host);
                server = server with
                {
                    // No port can be 0: libvirt takes it as if none were said.
                    Port = element.Number("port", ushort.MaxValue) is > 0 and { } port ? (int)port : null,
                };
                break;
            case ServerTransport.Unix:
                var socket = element.Required("socket");
                server = socket is ['/', _, ..]
                    ? server with { Socket = socket }
                    : throw ElementReader.Refuse($"backup socket path '{socket}' must be absolute");
                break;
            default:
                server = server with { FdGroup = element.Required("fdgroup") };
                break;
        }

        element.End();
        return server;
    }

    // A name or an address of version 4, or an address of version 6 without brackets and without a zone.
    private static bool IsHost(string text) =>
        text.Length > 0
        && (text.All(character => char.IsAsciiLetterOrDigit(character) || character is '.' or '-')
            || (text.All(character => char.IsAsciiHexDigit(character) || character is ':' or '.')
                && IPAddress.TryParse(text, out _)));

    private static BackupDisk ReadDisk(ElementReader element, BackupMode mode, bool isStatus)
    {
        var name = element.Required("name");
        if (name.Length == 0 || DiskName.Refuse(name) is not null)
        {
            throw element.BadValue("name", name);
        }

        var disk = new BackupDisk(name)
        {
            IsIncluded = element.YesNo("backup") ?? true,
            Mode = element.Word("backupmode", ("full", DiskBackupMode.Full), ("incremental",
                DiskBackupMode.Incremental)),
            Incremental = element.Attribute("incremental"),
        };
        if (disk is { Mode: DiskBackupMode.Full, Incremental: not null })
        {
            throw ElementReader.Refuse($"disk '{name}': backupmode 'full' excludes attribute 'incremental'");
        }

        if (mode == BackupMode.Pull)
        {
            disk = disk with
            {
                ExportName = element.Attribute("exportname"),
                ExportBitmap = element.Attribute("exportbitmap"),
            };
        }

        if (isStatus)
        {
            disk = disk with { Index = element.Number("index", int.MaxValue), State = ReadState(element) };
        }

        if (disk.IsIncluded)
        {
            disk = ReadImage(element, disk, mode);
        }

        element.End();
        return disk.IsIncluded ? disk : new BackupDisk(name) { IsIncluded = false };
    }

    private static BackupDiskState? ReadState(ElementReader element) => element.Word(
        "state",
        ("running", BackupDiskState.Running),
        ("complete", BackupDiskState.Complete),
        ("failed", BackupDiskState.Failed),
        ("cancelling", BackupDiskState.Cancelling),
        ("cancelled", BackupDiskState.Cancelled));

    private static BackupDisk ReadImage(ElementReader element, BackupDisk disk, BackupMode mode)
    {
        if (element.Attribute("type") is { } type && type is not ("file" or "block"))
        {
            throw ErrorClass.Unsupported.ToException($"unsupported disk backup type '{type}'");
        }

        var kind = element.Word("type", ("file", ImageKind.File), ("block", ImageKind.Block));
        var image = element.Child(ElementOf(mode));
        if (kind == ImageKind.Block && image is null && mode == BackupMode.Pull)
        {
            throw ElementReader.Refuse($"disk '{disk.Name}' of type 'block' needs the element 'scratch'");
        }

        string? format = null;
        if (element.Child("driver") is { } driver)
        {
            format = driver.Required("type");
            driver.End();
            if (mode == BackupMode.Pull && format != "qcow2")
            {
                throw ElementReader.Refuse($"pull mode backup for disk '{disk.Name}' requires qcow2 driver");
            }

            if (!s_formats.Contains(format, StringComparer.Ordinal))
            {
                throw driver.BadValue("type", format);
            }
        }

        return disk with
        {
            Kind = kind ?? (image is null ? null : ImageKind.File),
            Format = format,
            Image = image is null ? null : ImageXml.Read(image, kind ?? ImageKind.File),
        };
    }

    private static BackupPrivateData ReadPrivateData(ElementReader element)
    {
        var objects = element.Child("objects");
        string? key = null;
        string? certificates = null;
        if (objects?.Child("secret") is { } secret)
        {
            var type = secret.Required("type");
            key = type == "tlskey" ? secret.Required("alias") : throw secret.BadValue("type", type);
            secret.End();
        }

        if (objects?.Child("TLSx509") is { } tls)
        {
            certificates = tls.Required("alias");
            tls.End();
        }

        objects?.End();
        element.End();
        return new BackupPrivateData(key, certificates);
    }

    private static void WriteDisk(XmlText text, BackupDisk disk, BackupMode mode)
    {
        text.Start("disk");
        text.Attribute("name", disk.Name);
        text.Attribute("backup", YesNo(disk.IsIncluded));
        if (disk.IsIncluded)
        {
            text.Attribute("state", disk.State?.ToText());
            text.Attribute("type", disk.Kind is { } kind ? kind == ImageKind.Block ? "block" : "file" : null);
            text.Attribute("backupmode", disk.Mode?.ToText());
            text.Attribute("incremental", disk.Incremental);
            text.Attribute("exportname", disk.ExportName);
            text.Attribute("exportbitmap", disk.ExportBitmap);
            text.Attribute("index", disk.Index);
            if (disk.Format is not null)
            {
                text.Start("driver");
                text.Attribute("type", disk.Format);
                text.End("driver");
            }

            if (disk.Image is { } image)
            {
                ImageXml.Write(text, ElementOf(mode), image, disk.Kind ?? ImageKind.File);
            }
        }

        text.End("disk");
    }

    private static void WritePrivateData(XmlText text, BackupPrivateData data)
    {
        text.Start("privateData");
        text.Start("objects");
        if (data.TlsKeyAlias is { } key)
        {
            text.Start("secret");
            text.Attribute("type", "tlskey");
            text.Attribute("alias", key);
            text.End("secret");
        }

        if (data.TlsAlias is { } alias)
        {
            text.Start("TLSx509");
            text.Attribute("alias", alias);
            text.End("TLSx509");
        }

        text.End("objects");
        text.End("privateData");
    }

    private static string ElementOf(BackupMode mode) => mode == BackupMode.Push ? "target" : "scratch";

    private static string YesNo(bool value) => value ? "yes" : "no";

    private static string ToText(ServerTransport transport) => transport switch
    {
        ServerTransport.Unix => "unix",
        ServerTransport.Fd => "fd",
        _ => "tcp",
    };
}
