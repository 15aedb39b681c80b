using System.Text.Json.Nodes;
using Tidemark.Engine.Jobs;

namespace Tidemark.Engine.Events;

/// <summary>Where events go: to every monitor that has negotiated.</summary>
internal interface IEventSink
{
    /// <summary>Sends an event to every client. Never waits.</summary>
    void Emit(string name, JsonObject data);

    /// <summary>Sends <c>JOB_STATUS_CHANGE</c>.</summary>
    void JobStatusChanged(Job job) =>
        Emit("JOB_STATUS_CHANGE", new JsonObject { ["status"] = job.Status.ToText(), ["id"] = job.Id });
}
