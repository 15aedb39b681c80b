using Tidemark.Interop.Tests.Guests;
using Tidemark.Interop.Tests.Hypervisors;
using Tidemark.Interop.Tests.Programs;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Interop.Tests.Chains;

/// <summary>
/// A running hypervisor whose disks are chains of three qcow2 images, a guest that writes when told to, and what is
/// known of every byte.
/// </summary>
internal sealed class ChainScene : IAsyncDisposable
{
    public const long DiskLength = 16 << 20;
    public const int Granule = 64 << 10;

    private const int SlotsPerGranule = Granule / GuestWrites.SlotLength;
    private const int SlotCount = (int)(DiskLength / GuestWrites.SlotLength);

    private readonly TemporaryDirectory _folder = new();
    private readonly Random _random = new(5);

    private ChainScene(HypervisorKind kind, QemuVersion? version, int diskCount)
    {
        Tidemark = new TidemarkProgram(_folder.Path);
        Hypervisor = kind switch
        {
            HypervisorKind.QemuSystem => new SystemEmulator(_folder.Path, diskCount, version),
            HypervisorKind.QemuStorageDaemon =>
                new StorageDaemon(_folder.Path, diskCount, embedded: false, Tidemark, version),
            _ => new StorageDaemon(_folder.Path, diskCount, embedded: true, Tidemark),
        };
        Writes = new GuestWrites(diskCount, stamped: kind != HypervisorKind.QemuSystem);
        Layers = new DiskLayers(Hypervisor, Path.Combine(_folder.Path, "images"));
        Initial = new byte[diskCount][];
        Dirty = [.. Enumerable.Range(0, diskCount).Select(_ => new HashSet<long>())];
    }

    public string Folder => _folder.Path;

    public TidemarkProgram Tidemark { get; }

    public Hypervisor Hypervisor { get; }

    public GuestWrites Writes { get; }

    /// <summary>The images of each disk and the nodes that show them.</summary>
    public DiskLayers Layers { get; }

    /// <summary>Each disk before the guest's first write.</summary>
    public byte[][] Initial { get; }

    /// <summary>The granules of each disk that were written since the test last cleared this.</summary>
    public HashSet<long>[] Dirty { get; }

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public static async Task<ChainScene> CreateAsync(HypervisorKind kind, string version, int diskCount)
    {
        Scene.SkipUnlessPossible();
        var scene = new ChainScene(kind, Versions.Need(version), diskCount);
        try
        {
            for (var disk = 0; disk < diskCount; disk++)
            {
                scene.Initial[disk] = await scene.Layers.CreateAsync(disk, DiskLength);
            }

            await scene.Hypervisor.StartAsync(Token);
            return scene;
        }
        catch
        {
            await scene.DisposeAsync();
            throw;
        }
    }

    /// <summary>The guest writes to every disk: some slots near one another, and some anywhere.</summary>
    public async Task WriteAsync(int perDisk = 4)
    {
        var near = _random.Next(SlotCount - 64);
        for (var write = 0; write < perDisk; write++)
        {
            for (var disk = 0; disk < Hypervisor.DiskCount; disk++)
            {
                await WriteSlotAsync(disk, write % 2 == 0 ? near + _random.Next(64) : _random.Next(SlotCount));
            }
        }
    }

    /// <summary>The guest writes on right after an instant: over what the increment holds, and elsewhere.</summary>
    /// <param name="increment">The granules that the increment holds, of each disk.</param>
    public async Task OverwriteAsync(long[][] increment)
    {
        for (var disk = 0; disk < Hypervisor.DiskCount; disk++)
        {
            foreach (var granule in increment[disk].Take(1))
            {
                await WriteSlotAsync(disk, (int)(granule * SlotsPerGranule) + 3);
            }

            await WriteSlotAsync(disk, _random.Next(SlotCount));
        }
    }

    public void ForgetDirty()
    {
        foreach (var granules in Dirty)
        {
            granules.Clear();
        }
    }

    /// <summary>Closes the hypervisor and starts it again, over the layers that the disks have by now.</summary>
    public async Task RestartAsync()
    {
        await Hypervisor.StopAsync(Token);
        Layers.Restarting();
        await Hypervisor.StartAsync(Token);
    }

    /// <summary>Fails if a disk's content is not the effect of exactly the guest's first writes.</summary>
    public void CheckInstant(byte[][] disks, int writes) =>
        Assert.Equal(writes, Writes.CheckInstant(disks, Initial, writes, writes));

    public async ValueTask DisposeAsync()
    {
        await Hypervisor.DisposeAsync();
        _folder.Dispose();
    }

    private async Task WriteSlotAsync(int disk, int slot)
    {
        var number = Writes.Begin(disk, slot);
        await Hypervisor.WriteAsync(disk, (long)slot * GuestWrites.SlotLength, Writes.Content(number), Token);
        Writes.Complete(number);
        Dirty[disk].Add(slot / SlotsPerGranule);
    }
}
