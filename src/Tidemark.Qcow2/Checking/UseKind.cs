namespace Tidemark.Qcow2.Checking;

/// <summary>What a host cluster is used as.</summary>
internal enum UseKind : byte
{
    None,
    Data,
    L2Table,
    Other,
}
