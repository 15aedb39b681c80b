using Tidemark.Nbd.Server;

namespace Tidemark.Engine.Exports;

/// <summary>An export and how far its removal has come.</summary>
internal sealed class ExportEntry(string id, NbdExport export)
{
    internal string Id { get; } = id;

    internal NbdExport Export { get; } = export;

    /// <summary>Whether its removal has begun.</summary>
    internal bool IsShuttingDown { get; set; }

    /// <summary>The removal; never faults.</summary>
    internal Task Removal { get; set; } = Task.CompletedTask;
}
