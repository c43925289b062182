// SPDX-License-Identifier: GPL-2.0
// The smallest live patch whose effect is easy to see: /proc/cmdline says "takt live patch" while it is loaded.
#include <linux/kernel.h>
#include <linux/livepatch.h>
#include <linux/module.h>
#include <linux/seq_file.h>

static int takt_cmdline_proc_show(struct seq_file *file, void *unused)
{
	seq_puts(file, "takt live patch\n");
	return 0;
}

static struct klp_func functions[] = {
	{ .old_name = "cmdline_proc_show", .new_func = takt_cmdline_proc_show },
	{ }
};

// No name: the kernel itself.
static struct klp_object objects[] = {
	{ .funcs = functions },
	{ }
};

static struct klp_patch patch = { .mod = THIS_MODULE, .objs = objects };

static int __init takt_cmdline_init(void)
{
	return klp_enable_patch(&patch);
}

static void __exit takt_cmdline_exit(void)
{
}

module_init(takt_cmdline_init);
module_exit(takt_cmdline_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("live patch of the tests: another /proc/cmdline");
MODULE_INFO(livepatch, "Y");
