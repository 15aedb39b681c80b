using Tidemark.Nbd.Client;
using Tidemark.Nbd.Protocol;

namespace Tidemark.Bench;

/// <summary>
/// The disk that everyone works on: half of it data in stripes of 16 MiB, half holes. Of each 64 KiB of data half is
/// noise and half repeats itself, so that compressing it is worth about a factor of two.
/// </summary>
internal sealed class BenchDisk(string folder, long length)
{
    private const int Stripe = 16 << 20;
    private const int Cluster = 64 << 10;

    public string Raw => Path.Combine(folder, "disk.raw");

    public string Qcow2 => Path.Combine(folder, "disk.qcow2");

    public long Length => length;

    public long DataLength => length / 2;

    public async Task CreateAsync()
    {
        var random = new Random(1);
        var stripe = new byte[Stripe];
        await using (var file = File.Create(Raw))
        {
            file.SetLength(length);
            for (long offset = 0; offset < length; offset += 2 * Stripe)
            {
                for (var at = 0; at < Stripe; at += Cluster)
                {
                    Fill(stripe.AsSpan(at, Cluster), random);
                }

                file.Position = offset;
                await file.WriteAsync(stripe);
            }
        }

        await Programs.RunAsync("qemu-img", "convert", "-O", "qcow2", Raw, Qcow2);
    }

    /// <summary>Writes new data into a share of the clusters that
    /// hold data: through an export, and into files.</summary>
    /// <param name="share">For example 0.01.</param>
    /// <param name="seed">Which clusters, and with what.</param>
    /// <param name="exports">The NBD sockets whose export <c>vda</c> gets the writes.</param>
    /// <param name="files">Raw files that get them too.</param>
    /// <returns>The bytes written.</returns>
    public async Task<long> DirtyAsync(
        double share, int seed, IEnumerable<string> exports, params string[] files)
    {
        var random = new Random(seed);
        var clusters = Enumerable.Range(0, (int)(length / Cluster))
            .Where(cluster => cluster * (long)Cluster / Stripe % 2 == 0).ToArray();
        random.Shuffle(clusters);
        var dirty = clusters[..(int)(clusters.Length * share)];
        var data = new byte[Cluster];
        Fill(data, random);

        foreach (var socket in exports)
        {
            await using var guest = await NbdClient.ConnectAsync(
                NbdEndPoint.ForUnix(socket), new NbdClientOptions { ExportName = "vda" });
            foreach (var cluster in dirty)
            {
                BitConverter.TryWriteBytes(data, ((long)seed << 32) + cluster);
                await guest.WriteAsync(cluster * (long)Cluster, data);
            }

            await guest.FlushAsync();
        }

        foreach (var path in files)
        {
            await using var file = File.OpenWrite(path);
            foreach (var cluster in dirty)
            {
                BitConverter.TryWriteBytes(data, ((long)seed << 32) + cluster);
                file.Position = cluster * (long)Cluster;
                await file.WriteAsync(data);
            }
        }

        return dirty.Length * (long)Cluster;
    }

    private static void Fill(Span<byte> cluster, Random random)
    {
        var half = cluster.Length / 2;
        random.NextBytes(cluster[..half]);
        for (var at = half; at < cluster.Length; at += 256)
        {
            cluster[..256].CopyTo(cluster[at..]);
        }
    }
}
