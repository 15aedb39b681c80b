using Tidemark.Blocks.Bitmaps;
using Tidemark.Blocks.Graph;
using Tidemark.Engine.Backups;
using Tidemark.Engine.Events;
using Tidemark.Engine.Jobs;
using Tidemark.Engine.Nodes;
using Tidemark.Qmp;

namespace Tidemark.Engine.Transactions;

/// <summary>Reads the actions of a <c>transaction</c>. The commands of the same names are transactions of one
/// action.</summary>
internal sealed class ActionReader(NodeSet nodes, JobSet jobs, IEventSink events)
{
    /// <summary>How many actions one transaction may have.</summary>
    internal const int MaximumActions = 4096;

    private readonly Dictionary<string, Func<QmpArguments, GraphAction>> _readers = new(StringComparer.Ordinal)
    {
        ["block-dirty-bitmap-add"] = data => ReadBitmapAdd(nodes.Graph, data),
        ["block-dirty-bitmap-remove"] = data =>
            new BitmapRemoveAction(nodes.Graph, data.GetString("node"), data.GetString("name")),
        ["block-dirty-bitmap-clear"] = data =>
            new BitmapClearAction(nodes.Graph, data.GetString("node"), data.GetString("name")),
        ["block-dirty-bitmap-enable"] = data =>
            new BitmapEnableAction(nodes.Graph, data.GetString("node"), data.GetString("name"), enable: true),
        ["block-dirty-bitmap-disable"] = data =>
            new BitmapEnableAction(nodes.Graph, data.GetString("node"), data.GetString("name"), enable: false),
        ["block-dirty-bitmap-merge"] = data => ReadBitmapMerge(nodes.Graph, data),
        ["blockdev-backup"] = data => new BackupAction(BackupOptions.Read(data), nodes, jobs, events),
        ["blockdev-snapshot"] = data => new SnapshotAction(nodes, data.GetString("node"), data.GetString("overlay")),
        ["abort"] = _ => new FailingAction(),
    };

    /// <summary>The names of the actions that are commands too.</summary>
    internal IEnumerable<string> CommandNames => _readers.Keys.Where(name => name != "abort");

    /// <summary>Reads the data of one action.</summary>
    /// <param name="type">A name that exists.</param>
    /// <param name="data">Its data; what it leaves unread is the caller's to refuse.</param>
    internal GraphAction Read(string type, QmpArguments data) => _readers[type](data);

    /// <summary>Reads the arguments of <c>transaction</c>.</summary>
    /// <exception cref="QmpException">An action is unknown or malformed; nothing has happened.</exception>
    internal GraphTransaction ReadTransaction(QmpArguments arguments)
    {
        var transaction = new GraphTransaction(nodes.Graph);
        var items = arguments.GetObjects("actions");
        if (items.Count > MaximumActions)
        {
            throw Refuse($"a transaction has at most {MaximumActions} actions; this one has {items.Count}");
        }

        foreach (var item in items)
        {
            var type = item.GetString("type");
            if (!_readers.ContainsKey(type))
            {
                throw QmpArguments.BadChoice("type", type);
            }

            transaction.Add(Read(type, item.GetObject("data")));
        }

        var mode = arguments.FindObject("properties")?.FindChoice("completion-mode", "individual", "grouped");
        if (mode == "grouped")
        {
            throw Refuse("Parameter 'properties.completion-mode' does not support value 'grouped'");
        }

        arguments.CheckNothingLeft();
        return transaction;
    }

    private static BitmapAddAction ReadBitmapAdd(BlockGraph graph, QmpArguments data)
    {
        var node = data.GetString("node");
        var name = data.GetString("name");
        var granularity = data.FindSize("granularity");
        if (granularity > uint.MaxValue)
        {
            throw Refuse($"Parameter '{data.FullName("granularity")}' expects uint32_t");
        }

        return new BitmapAddAction(graph, node, name)
        {
            Granularity = granularity,
            Persistent = data.FindBoolean("persistent") ?? false,
            Disabled = data.FindBoolean("disabled") ?? false,
        };
    }

    private static BitmapMergeAction ReadBitmapMerge(BlockGraph graph, QmpArguments data)
    {
        var node = data.GetString("node");
        var target = data.GetString("target");
        List<(string, string)> sources = [];
        foreach (var (name, item) in data.FindStringsOrObjects("bitmaps") ?? throw data.Missing("bitmaps"))
        {
            sources.Add(name is not null ? (node, name) : (item!.GetString("node"), item.GetString("name")));
        }

        return new BitmapMergeAction(graph, node, target, sources);
    }

    private static QmpException Refuse(string description) => new(QmpException.GenericError, description);
}
