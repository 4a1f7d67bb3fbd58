"""Does a saved artifact compute what torch computes?"""
