using Tidemark.Qmp;

namespace Tidemark.Engine.Exports;

/// <summary>The arguments of <c>block-export-add</c> (qapi/block-export.json), for NBD.</summary>
internal sealed record ExportOptions
{
    internal required string Id { get; init; }

    internal required string NodeName { get; init; }

    /// <summary>The name that clients ask for; the node's name when none is given.</summary>
    internal required string Name { get; init; }

    internal string Description { get; init; } = "";

    internal bool Writable { get; init; }

    /// <summary>Bitmaps by name, or with the node that has them.</summary>
    internal IReadOnlyList<(string? Node, string Name)> Bitmaps { get; init; } = [];

    /// <summary>Reads the arguments.</summary>
    /// <exception cref="QmpException">One is missing, unknown, or not supported.</exception>
    internal static ExportOptions Read(QmpArguments arguments)
    {
        var type = arguments.GetChoice("type", "nbd", "vhost-user-blk", "fuse", "vduse-blk");
        if (type != "nbd")
        {
            throw new QmpException(QmpException.GenericError, $"Parameter 'type' does not support value '{type}'");
        }

        arguments.RefuseUnsupported("iothread", "fixed-iothread", "writethrough");
        if (arguments.FindBoolean("allocation-depth") == true)
        {
            throw arguments.NotSupported("allocation-depth");
        }

        var node = arguments.GetString("node-name");
        List<(string?, string)> bitmaps = [];
        foreach (var (name, item) in arguments.FindStringsOrObjects("bitmaps") ?? [])
        {
            bitmaps.Add(name is not null ? (null, name) : (item!.GetString("node"), item.GetString("name")));
        }

        var options = new ExportOptions
        {
            Id = arguments.GetString("id"),
            NodeName = node,
            Name = arguments.FindString("name") ?? node,
            Description = arguments.FindString("description") ?? "",
            Writable = arguments.FindBoolean("writable") ?? false,
            Bitmaps = bitmaps,
        };
        arguments.CheckNothingLeft();
        return options;
    }
}
