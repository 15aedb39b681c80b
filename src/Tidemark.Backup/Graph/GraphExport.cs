namespace Tidemark.Backup.Graph;

/// <summary>An export of a node (QAPI <c>BlockExportInfo</c>).</summary>
/// <param name="Id">The export's id.</param>
/// <param name="NodeName">The node it shows, which may be a job's filter.</param>
/// <param name="Type">For example <c>nbd</c>.</param>
public sealed record GraphExport(string Id, string NodeName, string Type);
