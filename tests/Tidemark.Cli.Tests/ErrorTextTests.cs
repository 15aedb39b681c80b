using Tidemark.Backup.Definitions;

namespace Tidemark.Cli.Tests;

public sealed class ErrorTextTests
{
    [Fact]
    public void What_could_not_be_taken_back_is_told_behind_the_first_error()
    {
        var failed = new BackupException(BackupErrorKind.Hypervisor, "the target is full: job 'a' failed")
        {
            UndoErrors = ["node 'x' is in use", "job 'a' failed", "file '/s'\nis not ours"],
        };
        Assert.Equal(
            [
                "the target is full: job 'a' failed", "not taken back: node 'x' is in use",
                "not taken back: file '/s'; is not ours",
            ],
            ErrorText.Lines(failed));
    }

    [Fact]
    public void Any_other_failure_is_one_line() =>
        Assert.Equal(["no room; at all"], ErrorText.Lines(new IOException("no room\n at all")));
}
