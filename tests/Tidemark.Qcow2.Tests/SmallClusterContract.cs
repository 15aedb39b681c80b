namespace Tidemark.Qcow2.Tests;

/// <summary>With the smallest clusters, where every table is small too.</summary>
public sealed class SmallClusterContract : Qcow2NodeContract
{
    protected override int ClusterSize => 512;
}
