using Tidemark.Backup.Planning;
using Tidemark.Backup.Running;
using Tidemark.Backup.Tests.Journal;

namespace Tidemark.Backup.Tests.Running;

public sealed class UndoTextTests
{
    [Fact]
    public void Every_action_has_words_and_none_of_the_codes()
    {
        Assert.Equal(
            typeof(UndoAction).GetNestedTypes().Select(kind => kind.Name).Order(),
            RunJournalTests.All.Select(action => action.GetType().Name).Distinct().Order());
        Assert.All(RunJournalTests.All, action => Assert.Matches("^[a-zNBD ]+( '.+')?$", UndoText.Describe(action)));
        Assert.Equal("bitmap 't' of node 'vda'", UndoText.Describe(new UndoAction.TemporaryBitmap("vda", "t")));
    }
}
