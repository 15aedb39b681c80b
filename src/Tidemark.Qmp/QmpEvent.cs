using System.Text.Json;

namespace Tidemark.Qmp;

/// <summary>An event: something that happened at the hypervisor, unasked.</summary>
/// <param name="Name">For example <c>JOB_STATUS_CHANGE</c>.</param>
/// <param name="Data">Its data object; undefined when there is none.</param>
/// <param name="Timestamp">When, by the hypervisor's clock.</param>
public sealed record QmpEvent(string Name, JsonElement Data, DateTimeOffset Timestamp);
