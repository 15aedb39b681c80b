using System.Text.Json.Nodes;

namespace Tidemark.Qmp;

/// <summary>A command: its name and its arguments, in the order in which they are to be sent.</summary>
/// <param name="Name">For example <c>blockdev-add</c>.</param>
/// <param name="Arguments">The arguments object, or null for none. Not changed after it was handed over.</param>
public sealed record QmpCommand(string Name, JsonObject? Arguments = null);
