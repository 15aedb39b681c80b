namespace Tidemark.Nbd.Client;

/// <summary>One export in a server's list.</summary>
/// <param name="Name">The name to ask for.</param>
/// <param name="Description">The server's words for people; empty when it has none.</param>
public sealed record NbdExportInfo(string Name, string Description);
