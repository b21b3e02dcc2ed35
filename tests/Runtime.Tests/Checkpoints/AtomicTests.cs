using Bellman.Runtime.Checkpoints;
using Bellman.Tests;
using Xunit;

namespace Bellman.Runtime.Tests.Checkpoints;

public sealed class AtomicTests : IDisposable
{
    private readonly TemporaryFolder _folder = TestData.NewFolder();

    [Fact]
    public void AFileIsReplacedAndNothingElseIsLeft()
    {
        string path = _folder.File("a.txt");
        AtomicFile.WriteText(path, "old");
        AtomicFile.WriteText(path, "nü");
        Assert.Equal("nü"u8.ToArray(), File.ReadAllBytes(path));
        AtomicFile.WriteBytes(path, [1, 2]);
        Assert.Equal([1, 2], File.ReadAllBytes(path));
        Assert.Equal([path], Directory.GetFileSystemEntries(_folder.Path));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(10)]
    [InlineData(100_000)]
    public void AFullDiskLeavesTheOldFileAndNoOther(int room)
    {
        string path = _folder.File("model.safetensors");
        File.WriteAllText(path, "old");
        SafetensorsTensor[] tensors = [SafetensorsTensor.Floats("x", [1 << 20], new float[1 << 20])];
        CheckpointException error = Assert.Throws<CheckpointException>(() =>
            AtomicFile.Write(path, stream => SafetensorsWriter.Write(stream, tensors, null), temporary => new FullDisk(File.Create(temporary), room)));
        Assert.StartsWith(path, error.Message);
        Assert.Contains("no room", error.Message);
        Assert.Contains("free disk space", error.Message);
        Assert.DoesNotContain('\n', error.Message);
        Assert.Equal("old", File.ReadAllText(path));
        Assert.Equal([path], Directory.GetFileSystemEntries(_folder.Path));
    }

    [Fact]
    public void TheSystemsFullDeviceIsReported()
    {
        if (!File.Exists("/dev/full")) Assert.Skip("this system has no /dev/full");
        string path = _folder.File("a.bin");
        CheckpointException error = Assert.Throws<CheckpointException>(() =>
            AtomicFile.Write(path, stream => stream.Write(new byte[1 << 20]), _ => new FileStream("/dev/full", FileMode.Open, FileAccess.Write)));
        Assert.Contains("free disk space", error.Message);
        Assert.Empty(Directory.GetFileSystemEntries(_folder.Path));
    }

    [Fact]
    public void AnErrorOfTheCallbackPassesAndLeavesTheOldFile()
    {
        string path = _folder.File("a.txt");
        File.WriteAllText(path, "old");
        Assert.Throws<OperationCanceledException>(() => AtomicFile.Write(path, stream =>
        {
            stream.WriteByte(1);
            throw new OperationCanceledException();
        }));
        Assert.Equal("old", File.ReadAllText(path));
        Assert.Equal([path], Directory.GetFileSystemEntries(_folder.Path));
    }

    [Fact]
    public void ImpossiblePathsAreNamed()
    {
        Assert.Contains("create the folder", Refuses(() => AtomicFile.WriteText(_folder.File("no/a.txt"), "")));
        // Before the work that the file is for.
        bool isAsked = false;
        Assert.Contains("there is a folder of this name", Refuses(() => AtomicFile.Write(_folder.Path, _ => isAsked = true)));
        Assert.False(isAsked);
        Assert.Contains("a path", Refuses(() => AtomicFile.WriteText("", "")));
        Assert.Contains("a path", Refuses(() => AtomicFile.WriteText("a\0b", "")));
        Assert.Contains("root", Refuses(() => AtomicFolder.Write(Path.GetPathRoot(_folder.Path)!, _ => { })));
    }

    [Fact]
    public void AFolderAppearsWholeAndParentsAreMade()
    {
        string path = _folder.File("run/checkpoints/step-1");
        AtomicFolder.Write(path + "/", inside =>
        {
            Assert.False(Directory.Exists(path));
            File.WriteAllText(Path.Combine(inside, "a"), "1");
            Directory.CreateDirectory(Path.Combine(inside, "policy"));
            string readOnly = Path.Combine(inside, "policy", "b");
            File.WriteAllText(readOnly, "2");
            File.SetAttributes(readOnly, FileAttributes.ReadOnly);
        });
        Assert.Equal("1", File.ReadAllText(Path.Combine(path, "a")));
        Assert.Equal("2", File.ReadAllText(Path.Combine(path, "policy", "b")));
        Assert.Single(Directory.GetFileSystemEntries(_folder.File("run/checkpoints")));
        File.SetAttributes(Path.Combine(path, "policy", "b"), FileAttributes.Normal);
    }

    [Fact]
    public void AFolderIsReplacedOnlyOnRequestAndThenWhole()
    {
        string path = _folder.File("policy");
        AtomicFolder.Write(path, inside => File.WriteAllText(Path.Combine(inside, "old"), "1"));
        Assert.Contains("not empty", Refuses(() => AtomicFolder.Write(path, _ => Assert.Fail("must not be built"))));
        AtomicFolder.Write(path, inside => File.WriteAllText(Path.Combine(inside, "new"), "2"), replace: true);
        Assert.Equal([Path.Combine(path, "new")], Directory.GetFileSystemEntries(path));
        Assert.Equal([path], Directory.GetFileSystemEntries(_folder.Path));
        // An empty folder is no loss.
        Directory.CreateDirectory(_folder.File("empty"));
        AtomicFolder.Write(_folder.File("empty"), inside => File.WriteAllText(Path.Combine(inside, "a"), ""));
        Assert.True(File.Exists(_folder.File("empty/a")));
        // A file of this name stays.
        File.WriteAllText(_folder.File("file"), "x");
        Assert.Contains("a file of this name", Refuses(() => AtomicFolder.Write(_folder.File("file"), _ => { }, replace: true)));
        Assert.Equal("x", File.ReadAllText(_folder.File("file")));
    }

    [Fact]
    public void AFailureWhileBuildingKeepsTheOldFolderAndLeavesNoOther()
    {
        string path = _folder.File("policy");
        AtomicFolder.Write(path, inside => File.WriteAllText(Path.Combine(inside, "old"), "1"));
        string message = Refuses(() => AtomicFolder.Write(path, inside =>
        {
            File.WriteAllText(Path.Combine(inside, "half"), "");
            throw new IOException("no room\nleft");
        }, replace: true));
        Assert.Contains("no room left", message);
        Assert.Throws<InvalidOperationException>(() => AtomicFolder.Write(path, _ => throw new InvalidOperationException(), replace: true));
        Assert.Equal([Path.Combine(path, "old")], Directory.GetFileSystemEntries(path));
        Assert.Equal([path], Directory.GetFileSystemEntries(_folder.Path));
    }

    [Fact]
    public void LeftoversOfAKilledProcessAreCleanedUp()
    {
        string path = _folder.File("policy"), id = Guid.NewGuid().ToString("N");
        // Killed between moving the old folder aside and the new one in.
        Directory.CreateDirectory(_folder.File($".policy.{id}.old"));
        File.WriteAllText(_folder.File($".policy.{id}.old/a"), "1");
        Directory.CreateDirectory(_folder.File($".policy.{id}.tmp"));
        // Not ours: other names, other forms.
        string[] others = [_folder.File($".policy.2.{id}.tmp"), _folder.File(".policy.mine.old"), _folder.File($"policy.{id}.tmp")];
        foreach (string other in others) Directory.CreateDirectory(other);
        AtomicFolder.Recover(path);
        Assert.Equal("1", File.ReadAllText(Path.Combine(path, "a")));
        Assert.Equal(others.Append(path).Order(), Directory.GetFileSystemEntries(_folder.Path).Order());
        // With the new folder in place, the one moved aside goes.
        Directory.CreateDirectory(_folder.File($".policy.{id}.old"));
        AtomicFolder.Recover(path);
        Assert.False(Directory.Exists(_folder.File($".policy.{id}.old")));
        Assert.True(File.Exists(Path.Combine(path, "a")));
    }

    public void Dispose() => _folder.Dispose();

    private static string Refuses(Action action)
    {
        string message = Assert.Throws<CheckpointException>(action).Message;
        Assert.DoesNotContain('\n', message);
        return message;
    }

    /// <summary>A stream over a real file that refuses once a number of bytes was written, as a full disk does.</summary>
    private sealed class FullDisk(FileStream inner, int room) : Stream
    {
        private long _room = room;

        public override bool CanRead => false;

        public override bool CanSeek => false;

        public override bool CanWrite => true;

        public override long Length => inner.Length;

        public override long Position { get => inner.Position; set => throw new NotSupportedException(); }

        public override void Flush() => inner.Flush();

        public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

        public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

        public override void SetLength(long value) => throw new NotSupportedException();

        public override void Write(byte[] buffer, int offset, int count)
        {
            if ((_room -= count) < 0) throw new IOException("no room on this disk");
            inner.Write(buffer, offset, count);
        }

        protected override void Dispose(bool disposing)
        {
            if (disposing) inner.Dispose();
            base.Dispose(disposing);
        }
    }
}
