using Bellman.Kernels.Cuda.Ptx;
using Bellman.Kernels.Cuda.Staging;
using Bellman.Tests;
using Xunit;

namespace Bellman.Kernels.Tests.Cuda;

/// <summary>The printed text: golden files for every kernel, and a lint that finds what is planted.</summary>
public sealed class PtxTests
{
    private static readonly string Folder = Path.Combine(TestData.Repository, "tests", "Kernels.Tests", "Cuda", "Ptx");

    [Fact]
    public void Every_kernel_prints_the_text_that_was_reviewed()
    {
        SortedDictionary<string, Kernel> kernels = KernelList.All();
        Assert.True(kernels.Count >= 20, $"only {kernels.Count} kernels were launched");
        if (Environment.GetEnvironmentVariable("BELLMAN_WRITE_PTX") == "1")
        {
            Directory.CreateDirectory(Folder);
            foreach (string file in Directory.GetFiles(Folder, "*.ptx")) File.Delete(file);
            foreach ((string name, Kernel kernel) in kernels) File.WriteAllText(Path.Combine(Folder, name + ".ptx"), kernel.Ptx);
        }
        Assert.Equal(kernels.Keys, Directory.GetFiles(Folder, "*.ptx").Select(x => Path.GetFileNameWithoutExtension(x)!).Order(StringComparer.Ordinal));
        foreach ((string name, Kernel kernel) in kernels)
        {
            Assert.True(
                File.ReadAllText(Path.Combine(Folder, name + ".ptx")) == kernel.Ptx,
                $"the PTX of {name} has changed; if it is meant, run the tests once with BELLMAN_WRITE_PTX=1 and commit the files");
            Assert.Empty(PtxLint.Check(kernel.Ptx));
        }
    }

    [Fact]
    public void A_kernel_of_a_few_lines_prints_as_expected()
    {
        var k = new KernelBuilder("triple", 32);
        Floats x = k.ArgumentFloats("x", DType.F32);
        S32 n = k.ArgumentS32("n"), i = k.BlockX.MultiplyAdd(32, k.Thread);
        k.If(i < n, () => x[i] = x[i] * 3f);
        Assert.Equal(
            """
            .version 7.0
            .target sm_80
            .address_size 64

            .visible .entry triple(
                .param .u64 triple_x,
                .param .u32 triple_n
            )
            .maxntid 32, 1, 1
            {
                .reg .pred %p<1>;
                .reg .b32 %r<4>;
                .reg .f32 %f<2>;
                .reg .b64 %rd<3>;
                ld.param.u64 %rd0, [triple_x];
                ld.param.u32 %r0, [triple_n];
                mov.u32 %r1, %ctaid.x;
                mov.u32 %r2, %tid.x;
                mad.lo.s32 %r3, %r1, 32, %r2;
                setp.lt.s32 %p0, %r3, %r0;
                @!%p0 bra $L0;
                mad.wide.s32 %rd1, %r3, 4, %rd0;
                ld.global.f32 %f0, [%rd1];
                mul.rn.f32 %f1, %f0, 0f40400000;
                mad.wide.s32 %rd2, %r3, 4, %rd0;
                st.global.f32 [%rd2], %f1;
            $L0:
                ret;
            }

            """, k.Build().Ptx);
    }

    // Changes of that text, and what the lint says of each.
    public static TheoryData<string, string, string> Planted => new()
    {
        { "mul.rn.f32 %f1, %f0, 0f40400000;", "mul.rn.f32 %f1, %f9, 0f40400000;", "%f9 is not a declared .f32 register" },
        { "mul.rn.f32 %f1, %f0, 0f40400000;", "mul.rn.f32 %f1, %r0, 0f40400000;", "mul.rn.f32 does not take" },
        { "mul.rn.f32 %f1, %f0, 0f40400000;", "mul.rn.f32 %f1, %f0;", "mul.rn.f32 does not take" },
        { "mul.rn.f32 %f1, %f0, 0f40400000;", "mul.rn.f32 %f1, %f0, 3;", "mul.rn.f32 does not take" },
        { "mul.rn.f32 %f1, %f0, 0f40400000;", "mul.f32 %f1, %f0, 0f40400000;", "mul.f32 is not in the instruction table" },
        { "mul.rn.f32 %f1, %f0, 0f40400000;", "mul.rn.f32 %f1, %f0, 0f40400000", "does not end with a semicolon" },
        { "ld.global.f32 %f0, [%rd1];", "", "%f0 is read before it is set" },
        { "setp.lt.s32 %p0, %r3, %r0;", "", "%p0 is read before it is set" },
        { "$L0:", "$L1:", "jump to $L0, which is not there" },
        { "$L0:", "$L0:\n$L0:", "label $L0 stands twice" },
        { ".reg .f32 %f<2>;", ".reg .f32 %f<2>;\n.reg .f32 %f<2>;", ".f32 registers are declared twice" },
        { ".reg .f32 %f<2>;", ".reg .f32 %g<2>;", "declares no known class" },
        { "[triple_n]", "[triple_m]", "parameter triple_m is not there" },
        { ".param .u32 triple_n", ".param .f32 triple_n", "parameter triple_n is .f32, read by ld.param.u32" },
        { ".target sm_80", ".target sm_75", "needs sm_80" },
        { ".version 7.0", ".version 6.3", "needs PTX 7.0" },
        { "ret;\n}", "ret;", "the entry is not closed" },
    };

    [Theory]
    [MemberData(nameof(Planted))]
    public void The_lint_finds(string text, string changed, string problem)
    {
        var k = new KernelBuilder("triple", 32);
        Floats x = k.ArgumentFloats("x", DType.F32);
        S32 n = k.ArgumentS32("n"), i = k.BlockX.MultiplyAdd(32, k.Thread);
        k.If(i < n, () => x[i] = x[i] * 3f);
        string good = k.Build().Ptx;
        if (problem.StartsWith("needs", StringComparison.Ordinal)) good = good.Replace("mul.rn.f32 %f1, %f0, 0f40400000", "min.NaN.f32 %f1, %f0, 0f40400000");
        Assert.Empty(PtxLint.Check(good));
        Assert.Contains(text, good);
        Assert.Contains(PtxLint.Check(good.Replace(text, changed)), p => p.Contains(problem));
    }

    [Fact]
    public void Staging_refuses_what_cannot_be()
    {
        Assert.Contains("multiple of 32", Assert.Throws<StagingException>(() => new KernelBuilder("k", 33)).Message);
        Assert.Contains("letters, digits", Assert.Throws<StagingException>(() => new KernelBuilder("a-b", 32)).Message);
        KernelBuilder one = new("one", 32), two = new("two", 32);
        Assert.Contains("a value of kernel one", Assert.Throws<StagingException>(() => two.Variable(one.Lane)).Message);
        Assert.Contains("belongs to a kernel", Assert.Throws<StagingException>(() => (F32)1f + 2f).Message);
        Assert.Throws<ArgumentException>(() => one.ArgumentFloats("x", DType.F32).Load(0, 3));
    }
}
