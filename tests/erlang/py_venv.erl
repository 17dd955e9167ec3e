%%% Virtual environments for the tests.
-module(py_venv).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([bare/1]).

%% @doc One with nothing in it, in the private directory of the suite; the application has to be running.
-spec bare(ct_suite:ct_config()) -> file:filename().
bare(Config) ->
    Directory = filename:absname(filename:join(?config(priv_dir, Config), "bare")),
    Base = py:const(sys, '_base_executable'),
    _ = os:cmd(lists:concat(["'", Base, "' -m venv --without-pip '", Directory, "'"])),
    ?assert(filelib:is_file(filename:join([Directory, "bin", "python"]))),
    Directory.
