namespace Tidemark.Interop.Tests.Kills;

/// <summary>Where in a run somebody was killed.</summary>
/// <param name="Number">The command, counted from 1.</param>
/// <param name="IsAfter">After its effect, before the program has seen the reply; else before the command.</param>
/// <param name="Command">The command's line.</param>
/// <param name="IsFrozen">Whether the transaction had taken place.</param>
/// <param name="Said">What the program said at its end.</param>
internal sealed record KillPoint(int Number, bool IsAfter, string Command, bool IsFrozen, string Said)
{
    public override string ToString() =>
        $"killed {(IsAfter ? "after" : "before")} command {Number}: {Command} ({Said})";
}
