using System.Text.Json.Nodes;
using Tidemark.Interop.Tests.Hypervisors;
using Tidemark.Interop.Tests.Kills;
using Xunit;

namespace Tidemark.Interop.Tests;

/// <summary>
/// QEMU 5.2 dies, and a guest with it, when it is asked for its nodes while an ended backup job is listed. A verb that
/// asks while a push of a machine runs holds the push for the question: it cannot end then, even when nothing slows it
/// down; the guest writes on, also over what was not copied yet; and the push holds the disk at its instant.
/// </summary>
[Trait("Category", "Interop")]
public sealed class HeldPushTests
{
    private const int Slow = 64 << 10;
    private const int SlotsPerGranule = 16;
    private const int Granules = 24;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_machine_of_QEMU_5_2_is_asked_only_while_its_push_stands_still()
    {
        await using var desk = await DomainDesk.CreateAsync(HypervisorKind.QemuSystem, "5.2", "push");
        await desk.RunAsync("checkpoint-create-as", "first");
        for (var granule = 0; granule < Granules; granule++)
        {
            await desk.Scene.WriteAsync(0, granule * SlotsPerGranule);
        }

        desk.Proxy.Rewrite = line => line.Contains("\"transaction\"")
            ? line.Replace("\"auto-dismiss\"", $"\"speed\":{Slow},\"auto-dismiss\"")
            : line;
        await desk.Scene.Tidemark.RunOkAsync(await desk.BeginAsync("second"));
        List<string> standing = [];
        desk.Proxy.OnCommand = async line =>
        {
            if (line.Contains("\"query-named-block-nodes\""))
            {
                await SetSpeedAsync(desk, 0);
                await desk.Scene.WriteAsync(0, ((Granules - standing.Count) * SlotsPerGranule) - 1);
                standing.Add(await StatusAsync(desk));
                await SetSpeedAsync(desk, Slow);
            }

            return true;
        };
        Assert.Contains("vda", await desk.RunAsync("domblklist"));
        Assert.Equal("valid", await desk.StateAsync("first"));
        Assert.True(standing.Count >= 2, $"the verbs asked for nodes {standing.Count} times");
        Assert.All(standing, status => Assert.Equal("paused", status));
        desk.Proxy.OnCommand = null;
        Assert.Equal("running", await StatusAsync(desk));

        await SetSpeedAsync(desk, 0);
        await desk.CheckBegunAsync("second", givesUp: false, Granules, "held for questions");
        Assert.Equal("valid", await desk.StateAsync("first"));
    }

    private static async Task SetSpeedAsync(DomainDesk desk, int speed) => await desk.Scene.Hypervisor.ExecuteAsync(
        "block-job-set-speed", new JsonObject { ["device"] = await AskAsync(desk, "id"), ["speed"] = speed }, Token);

    private static Task<string> StatusAsync(DomainDesk desk) => AskAsync(desk, "status");

    // Of the push's job.
    private static async Task<string> AskAsync(DomainDesk desk, string what) => Assert.Single(
        (await desk.Scene.Hypervisor.ExecuteAsync("query-jobs", null, Token)).EnumerateArray())
        .GetProperty(what).GetString()!;
}
