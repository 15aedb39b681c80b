using Tidemark.Interop.Tests.Hypervisors;
using Tidemark.Interop.Tests.Placement;
using Xunit;

namespace Tidemark.Interop.Tests;

/// <summary>
/// The temporary bitmap laid onto each node that there is, on each version: what comes out is exactly what the table of
/// <c>docs/design/002-where-the-temporary-bitmap-lies.md</c> states, which is read here.
/// </summary>
[Trait("Category", "Interop")]
public sealed class PlacementTests(ITestOutputHelper output)
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    [MemberData(nameof(Versions.Everywhere), MemberType = typeof(Versions))]
    public async Task Each_place_has_the_outcome_that_the_page_states(HypervisorKind kind, string version)
    {
        Scene.SkipUnlessPossible("nbdinfo");
        var stated = PlacementTable.Read(version);
        Assert.Equal(Places.All.Select(place => (place.Mode, place.Place)), stated.Keys);

        await using var scene = await Scene.CreateAsync(kind, diskCount: 1, repository: false, Versions.Need(version));
        var lab = new PlacementLab(scene.Hypervisor, scene.Folder, kind == HypervisorKind.EmbeddedEngine, Token);
        await lab.CreateImagesAsync();
        await lab.OpenDiskAsync(startServer: kind == HypervisorKind.QemuSystem);

        List<string> wrong = [];
        foreach (var (mode, place, act) in Places.All)
        {
            var (outcome, said) = await OutcomeAsync(lab, act);
            output.WriteLine($"{mode}, {place}: {outcome} ({said})");
            if (outcome != stated[(mode, place)])
            {
                wrong.Add($"{mode}, on {place}: {outcome}, not {stated[(mode, place)]} ({said})");
            }
        }

        Assert.Empty(wrong);
    }

    private static async Task<(string Outcome, string Said)> OutcomeAsync(
        PlacementLab lab, Func<PlacementLab, Task<bool>> act)
    {
        try
        {
            return await act(lab) ? ("works", "right") : ("wrong bits", "other ranges than the checkpoint's");
        }
        catch (NotSupportedException exception)
        {
            return ("none", exception.Message);
        }
        catch (InvalidOperationException exception)
        {
            return (Classify(exception.Message), exception.Message);
        }
        finally
        {
            await lab.ClearAsync();
        }
    }

    private static string Classify(string error) => error switch
    {
        _ when error.Contains("not found", StringComparison.Ordinal)
            || error.Contains("could not be found", StringComparison.Ordinal) => "not found",
        _ when error.Contains("merged", StringComparison.Ordinal) => "merge refused",
        _ when error.Contains("Invalid parameter type", StringComparison.Ordinal) => "form refused",
        _ => "refused",
    };
}
