namespace Tidemark.Nbd.Protocol;

/// <summary>The items of information in replies to INFO and GO ("NBD_REP_INFO").</summary>
internal enum NbdInfo : ushort
{
    Export = 0,
    Name = 1,
    Description = 2,
    BlockSize = 3,
}
